package s3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/valyala/fasthttp"
	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/s3response"
	"golang.org/x/sys/unix"
)

// Layout below Config.Dir.
const (
	objectsDir = "objects" // one folder a bucket, one file an object
	sidecarDir = "sidecar" // attributes of objects, where the file system has no extended attributes
	bootFile   = "boot-id" // the machine's boot in which the store last ran
)

// durable is the posix backend with the promise that it lacks: what was acknowledged survives a power failure. It
// synchronises an object's data before it appears under its key, and the folder entry before the call returns. Journaling
// file systems commit attributes and parent folders with that entry, since they were changed before it.
type durable struct {
	*posix.Posix
	summed    *posix.Posix // the same store, but that it gives objects their checksum as ETag
	root      string       // absolute, as the working directory is not ours alone
	region    string
	sidecar   string // empty when attributes are kept with the files
	completes keyedLocks
}

// open readies the folder after whatever ended the last run, and opens the store. It changes the working directory.
func open(dir, region string) (*durable, error) {
	root, sidecar := filepath.Join(dir, objectsDir), filepath.Join(dir, sidecarDir)
	if err := prepare(root, sidecar); err != nil {
		return nil, err
	}
	if err := recoverUploads(dir, root); err != nil {
		return nil, err
	}
	options := posix.PosixOpts{
		CopyObjectThreshold: maxCopy,
		IOBufferSize:        ioBuffer,
		ForceNoObjLockFile:  true, // one process; locks within it suffice
	}
	// User code of jobs runs on this machine under other users: nothing is for them.
	options.SetNewDirPerm(0o700)
	options.SetNewFilePerm(0o600)

	d := &durable{root: root, region: region}
	var storer meta.MetadataStorer = attributes{meta.XattrMeta{}}
	if err := unix.Setxattr(root, "user.stint.probe", []byte("1"), 0); err != nil {
		if !errors.Is(err, unix.ENOTSUP) {
			return nil, fmt.Errorf("set an extended attribute on %s: %w", root, err)
		}
		kept, err := meta.NewSideCar(sidecar)
		if err != nil {
			return nil, err
		}
		storer, options.SideCarDir, d.sidecar = kept, sidecar, sidecar
	}
	p, err := posix.New(root, storer, options)
	if err != nil {
		return nil, err
	}
	d.Posix = p
	options.DataIntegrityEtag = true
	if d.summed, err = posix.New(root, storer, options); err != nil {
		p.Shutdown()
		return nil, err
	}
	return d, nil
}

// Shutdown lets go of the folder.
func (d *durable) Shutdown() {
	d.Posix.Shutdown()
	d.summed.Shutdown()
}

// headerETag, with the value "checksum", lets an upload do without an MD5 as its object's ETag, which is half of the processor time
// that it takes. The ETag then is the checksum of the bytes that the store verifies or makes anyway. The server asks for it where it
// writes much that nobody compares; S3 lets an ETag be no MD5, too, as that of an object in parts or under a key of KMS.
const headerETag = "X-Stint-Etag"

// PutObject stores an object durably.
func (d *durable) PutObject(ctx context.Context, in s3response.PutObjectInput) (s3response.PutObjectOutput, error) {
	store := d.Posix
	if c, ok := ctx.(*fasthttp.RequestCtx); ok && in.IfMatch == nil && in.IfNoneMatch == nil && string(c.Request.Header.Peek(headerETag)) == "checksum" {
		store = d.summed // conditions are kept among the calls of one only
	}
	out, err := store.PutObjectWithPostFunc(ctx, in, (*os.File).Sync)
	if err == nil {
		err = d.settle(*in.Bucket, *in.Key)
	}
	return out, explain(err, in.Key)
}

// CopyObject copies within the store, durably.
func (d *durable) CopyObject(ctx context.Context, in s3response.CopyObjectInput) (s3response.CopyObjectOutput, error) {
	out, err := d.Posix.CopyObject(ctx, in)
	if err == nil {
		err = errors.Join(d.sync(*in.Bucket, *in.Key), d.settle(*in.Bucket, *in.Key))
	}
	return out, explain(err, in.Key)
}

// CompleteMultipartUpload joins the parts into one durable object. Calls for the same upload wait for each other: a
// client that lost its answer and asks again must not be told of success before there is one.
func (d *durable) CompleteMultipartUpload(ctx context.Context, in *s3.CompleteMultipartUploadInput) (s3response.CompleteMultipartUploadResult, string, error) {
	if in.UploadId != nil {
		defer d.completes.lock(*in.UploadId)()
	}
	// The backend has no hook between the last part and the object's appearance but the copying itself. It takes an
	// error there as "copy another way", so a failed synchronisation is kept and told afterwards.
	left, syncErr := 0, error(nil)
	if in.MultipartUpload != nil {
		left = len(in.MultipartUpload.Parts)
	}
	join := func(part, whole *os.File) (retryable bool, err error) {
		if _, err := io.Copy(whole, part); err != nil {
			return true, err
		}
		if left--; left == 0 {
			syncErr = whole.Sync()
		} else {
			// Let the disk begin while the next part is copied. Only the Sync above counts.
			_ = unix.SyncFileRange(int(whole.Fd()), 0, 0, unix.SYNC_FILE_RANGE_WRITE)
		}
		return true, nil
	}
	out, version, err := d.CompleteMultipartUploadWithCopy(ctx, in, join)
	if err == nil {
		err = errors.Join(syncErr, d.settle(*in.Bucket, *in.Key))
	}
	return out, version, explain(err, in.Key)
}

// CreateBucket makes a bucket durably.
func (d *durable) CreateBucket(ctx context.Context, in *s3.CreateBucketInput, acl []byte) error {
	if err := d.Posix.CreateBucket(ctx, in, acl); err != nil {
		if d.alreadyMade(err) {
			return nil
		}
		return err
	}
	return errors.Join(d.sync(*in.Bucket), d.sync())
}

// DeleteBucket removes an empty bucket for good.
func (d *durable) DeleteBucket(ctx context.Context, bucket string) error {
	if err := d.Posix.DeleteBucket(ctx, bucket); err != nil {
		return err
	}
	return d.sync()
}

// PutBucketPolicy keeps the policy durably; nil removes it.
func (d *durable) PutBucketPolicy(ctx context.Context, bucket string, policy []byte) error {
	if err := d.Posix.PutBucketPolicy(ctx, bucket, policy); err != nil {
		return err
	}
	return d.sync(bucket)
}

// DeleteBucketPolicy removes the policy for good.
func (d *durable) DeleteBucketPolicy(ctx context.Context, bucket string) error {
	return d.PutBucketPolicy(ctx, bucket, nil)
}

// PutBucketTagging keeps the tags durably; nil removes them.
func (d *durable) PutBucketTagging(ctx context.Context, bucket string, tags map[string]string) error {
	if err := d.Posix.PutBucketTagging(ctx, bucket, tags); err != nil {
		return err
	}
	return d.sync(bucket)
}

// PutBucketOwnershipControls keeps the setting durably.
func (d *durable) PutBucketOwnershipControls(ctx context.Context, bucket string, ownership types.ObjectOwnership) error {
	if err := d.Posix.PutBucketOwnershipControls(ctx, bucket, ownership); err != nil {
		return err
	}
	return d.sync(bucket)
}

// PutObjectTagging keeps the tags durably; nil removes them.
func (d *durable) PutObjectTagging(ctx context.Context, bucket, object, version string, tags map[string]string) error {
	if err := d.Posix.PutObjectTagging(ctx, bucket, object, version, tags); err != nil {
		return err
	}
	return d.sync(bucket, object)
}

// settle makes the folder entry of a key durable, or its absence. Folders above that were just made or removed with it
// are committed by the same journal.
func (d *durable) settle(bucket, key string) error {
	if d.sidecar != "" {
		return errors.Join(syncFS(d.root), syncFS(d.sidecar))
	}
	for dir := filepath.Dir(strings.TrimSuffix(key, "/")); ; dir = filepath.Dir(dir) {
		err := d.sync(bucket, dir)
		if err == nil || dir == "." || !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
}

// sync synchronises one file or folder of the store. One that another call removed meanwhile needs nothing.
func (d *durable) sync(path ...string) error {
	f, err := os.Open(filepath.Join(append([]string{d.root}, path...)...))
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

func syncFS(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Syncfs(int(f.Fd()))
}

// recoverUploads mends multipart uploads that the end of the last run interrupted. One that was being completed is given
// back its name, else the backend would tell the client's next attempt that all was well. After a power failure the
// parts of unfinished uploads may be torn, as parts are not synchronised one by one: such uploads are dropped and their
// clients told NoSuchUpload.
func recoverUploads(dir, root string) error {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return fmt.Errorf("read the machine's boot id: %w", err)
	}
	marker := filepath.Join(dir, bootFile)
	last, err := os.ReadFile(marker)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	uploads, err := filepath.Glob(filepath.Join(root, "*", posix.MetaTmpMultipartDir, "*", "*"))
	if err != nil {
		return err
	}
	for _, upload := range uploads {
		name := filepath.Base(upload)
		id, _, cut := strings.Cut(strings.TrimSuffix(name, ".inprogress"), ".")
		switch {
		case string(last) != string(boot):
			err = os.RemoveAll(upload)
		case cut && strings.HasSuffix(name, ".inprogress"):
			err = os.Rename(upload, filepath.Join(filepath.Dir(upload), id))
		}
		if err != nil {
			return fmt.Errorf("mend an interrupted upload: %w", err)
		}
	}
	return os.WriteFile(marker, boot, 0o600)
}

// keyedLocks is a mutex for each key in use.
type keyedLocks struct {
	mu   sync.Mutex
	held map[string]*keyedLock
}

type keyedLock struct {
	sync.Mutex
	users int
}

func (k *keyedLocks) lock(key string) (unlock func()) {
	k.mu.Lock()
	if k.held == nil {
		k.held = map[string]*keyedLock{}
	}
	l := k.held[key]
	if l == nil {
		l = &keyedLock{}
		k.held[key] = l
	}
	l.users++
	k.mu.Unlock()
	l.Lock()
	return func() {
		l.Unlock()
		k.mu.Lock()
		if l.users--; l.users == 0 {
			delete(k.held, key)
		}
		k.mu.Unlock()
	}
}
