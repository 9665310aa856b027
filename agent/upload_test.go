package agent_test

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

func TestWhatGoesIntoTheArchive(t *testing.T) {
	t.Parallel()
	b := newBench(t, `cd $ROOT/model
		mkdir -p a/b empty; echo 1 > a/b/f; ln -s b/f a/inside; ln -s f a/b/near
		echo ckpt > $ROOT/checkpoints/c; ln -s ../checkpoints/c best; ln -s $ROOT/checkpoints/c best2
		ln -s /etc/passwd out; ln -s nowhere dangling; mkfifo pipe
		truncate -s 3M sparse; echo end >> sparse
		touch "$(printf 'n%.0s' $(seq 200))"; touch 'sp ace'; echo s > closed; chmod 0 closed`)
	o := b.run(t)
	wantKind(t, o, platform.Succeeded)
	got := untar(t, b.get(t, o.Model))
	want := map[string]string{
		"a/": "", "a/b/": "", "a/b/f": "1\n", "a/b/near": "-> f", "a/inside": "-> b/f", "empty/": "",
		"best": "ckpt\n", "best2": "ckpt\n", "out": "-> /etc/passwd", "dangling": "-> nowhere", "closed": "s\n",
		"sparse": strings.Repeat("\x00", 3<<20) + "end\n", strings.Repeat("n", 200): "", "sp ace": "",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("the archive differs: has %q", slices.Sorted(keys(got)))
	}
	if w := b.warnings(); !strings.Contains(w, "model/pipe") || !strings.Contains(w, "model/out -> /etc/passwd") {
		t.Errorf("warnings are %q", w)
	}
}

func keys[K comparable, V any](m map[K]V) func(func(K) bool) {
	return func(yield func(K) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func TestNothingMadeNothingUploaded(t *testing.T) {
	t.Parallel()
	b := newBench(t, "rmdir $ROOT/model")
	o := b.run(t)
	wantKind(t, o, platform.Succeeded)
	if o.Model != "" || o.Output != "" {
		t.Errorf("outcome: %+v", o)
	}
}

func TestModelFolderIsALink(t *testing.T) {
	t.Parallel()
	b := newBench(t, "rmdir $ROOT/model; ln -s /etc $ROOT/model")
	o := b.run(t)
	if o.Model != "" {
		t.Errorf("a link to a folder of the machine was uploaded: %+v", o)
	}
}

func TestUncompressedModel(t *testing.T) {
	t.Parallel()
	b := newBench(t, `mkdir $ROOT/model/a; echo 1 > $ROOT/model/a/f; echo 2 > "$ROOT/model/ x "; ln -s a/f $ROOT/model/l; echo p > $ROOT/output/data/p`)
	b.spec.OutputDataConfig.CompressionType = new(sagemaker.OutputCompressionTypeNone)
	o := b.run(t)
	wantKind(t, o, platform.Succeeded)
	if o.Model != "s3://out/models/digits/output/model/" || o.Output != "s3://out/models/digits/output/output/" {
		t.Errorf("outcome: %+v", o)
	}
	for uri, want := range map[platform.URI]string{o.Model + "a/f": "1\n", o.Model + " x ": "2\n", o.Output + "p": "p\n"} {
		if got := string(b.get(t, uri)); got != want {
			t.Errorf("%s holds %q", uri, got)
		}
	}
	if !strings.Contains(b.warnings(), "link: l") {
		t.Errorf("warnings are %q", b.warnings())
	}
}

// mountSmall puts the job's /opt/ml on a small disk.
func mountSmall(t *testing.T, b *bench, bytes int) {
	t.Helper()
	if err := os.MkdirAll(b.cfg.Root, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", b.cfg.Root, "tmpfs", 0, fmt.Sprint("size=", bytes)); err != nil {
		t.Fatalf("mount a small file system (this needs root): %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(b.cfg.Root, syscall.MNT_DETACH) })
}

func TestInputsThatDoNotFit(t *testing.T) {
	t.Parallel()
	b := newBench(t, "echo ran")
	mountSmall(t, b, 1<<20)
	b.put(t, "s3://data/t/a", strings.Repeat("x", 2<<20))
	b.input("train", "s3://data/t")
	wantKind(t, b.run(t), platform.ClientError, "2097152 bytes", "free")
}

// The disk of the agent's spool is full as well: everything is on one disk, as it is on one machine.
func TestJobThatFillsTheDisk(t *testing.T) {
	t.Parallel()
	b := newBench(t, `echo before; dd if=/dev/zero of=$ROOT/model/big bs=64k 2>/dev/null || echo "disk full"; seq 3000; exit 9`)
	mountSmall(t, b, 4<<20)
	b.cfg.Dir = filepath.Join(b.cfg.Root, "..", "ml", "agent-own")
	o := b.run(t)
	wantKind(t, o, platform.AlgorithmError, "exit code: 9")
	got := b.log()
	if len(got) != 3002 || got[0] != "before" || got[1] != "disk full" || got[3001] != "3000" {
		t.Errorf("%d lines came, the last of them %q", len(got), got[len(got)-1])
	}
	if o.Model == "" {
		t.Error("the model was not uploaded")
	}
}

func TestHugeAndBinaryLines(t *testing.T) {
	t.Parallel()
	b := newBench(t, `head -c 1000000 /dev/zero | tr '\0' x; echo; head -c 3000 /dev/urandom; echo; echo last`)
	wantKind(t, b.run(t), platform.Succeeded)
	got := b.log()
	if strings.Join(got[:4], "") != strings.Repeat("x", 1_000_000) || got[len(got)-1] != "last" {
		t.Errorf("%d events, the last %q", len(got), got[len(got)-1])
	}
}

// A server that is away while the job talks much must neither lose nor change the order of lines, nor let the spool grow
// without bound.
func TestManyLinesWhileTheServerIsAway(t *testing.T) {
	t.Parallel()
	b := newBench(t, "echo begin; seq 200000")
	b.cfg.SpoolLimit = 2 << 20
	b.at("begin", func() { b.away = true }) // from this answer on: the others are quick
	b.start(t)
	b.until(t, "the first line", said("begin"))
	spoolSize := func() (size int64) {
		files, _ := filepath.Glob(filepath.Join(b.cfg.Dir, "spool", "*"))
		for _, f := range files {
			if info, err := os.Stat(f); err == nil {
				size += info.Size()
			}
		}
		return size
	}
	for deadline := time.Now().Add(60 * time.Second); spoolSize() < 2<<20; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the spool does not fill")
		}
	}
	if size := spoolSize(); size > 4<<20 {
		t.Errorf("the spool has %d bytes, with a limit of 2 MiB", size)
	}
	b.set(func(c *control) { c.away = false })
	wantKind(t, b.wait(t), platform.Succeeded)
	got := b.log()
	if len(got) != 200_001 {
		t.Fatalf("%d lines came", len(got))
	}
	for i, line := range got[1:] {
		if line != fmt.Sprint(i+1) {
			t.Fatalf("line %d is %q", i+1, line)
		}
	}
}

func TestStopWhileDownloading(t *testing.T) {
	t.Parallel()
	b := newBench(t, "echo ran")
	b.put(t, "s3://data/t/a", "x")
	b.input("train", "s3://data/t")
	b.blobs.Fault = func(method string, u platform.URI) error {
		return platform.Errorf(platform.Unavailable, string(u), "away")
	}
	cancel := b.start(t)
	b.until(t, "the download to begin", func(c *control) bool { return len(c.reports) > 0 })
	cancel()
	wantKind(t, b.wait(t), platform.StopObeyed)
	if len(b.log()) > 0 {
		t.Error("the user's code ran")
	}
}

func TestProgressIsTold(t *testing.T) {
	t.Parallel()
	b := newBench(t, "true")
	for i := range 4 {
		b.put(t, platform.URI(fmt.Sprintf("s3://data/t/%d", i)), strings.Repeat("x", 20<<20))
	}
	b.input("train", "s3://data/t")
	var slow = make(chan struct{})
	b.blobs.Fault = func(method string, u platform.URI) error {
		if method == "Download" && strings.HasSuffix(string(u), "3") {
			<-slow
		}
		return nil
	}
	b.start(t)
	b.until(t, "progress", func(c *control) bool {
		for _, r := range c.reports {
			if r.Phase == platform.PhaseDownloading && strings.HasPrefix(r.Message, "Downloading input data: ") && strings.HasSuffix(r.Message, " MiB of 80 MiB") {
				return true
			}
		}
		return false
	})
	close(slow)
	wantKind(t, b.wait(t), platform.Succeeded)
}
