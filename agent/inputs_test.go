package agent_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

// listing gives the files and empty folders below a folder.
func listing(t *testing.T, dir string) []string {
	t.Helper()
	var names []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			inside, err := os.ReadDir(path)
			if err != nil || len(inside) > 0 || name == "." {
				return err
			}
			name += "/"
		}
		names = append(names, name)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestWhereObjectsLie(t *testing.T) {
	t.Parallel()
	keys := []string{"top.csv", "train/a.csv", "train/sub/b.csv", "train/empty/", "train2/c.csv", "training.csv", "one/file.bin"}
	for uri, want := range map[string][]string{
		"s3://data/train/":       {"a.csv", "empty/", "sub/b.csv"},
		"s3://data/one":          {"file.bin"},
		"s3://data/one/":         {"file.bin"},
		"s3://data/one/file.bin": {"file.bin"},
		"s3://data/one/fi":       {"file.bin"},
		"s3://data/train":        {"a.csv", "empty/", "sub/b.csv", "train2/c.csv", "training.csv"},
		"s3://data/train/su":     {"sub/b.csv"},
		"s3://data":              {"one/file.bin", "top.csv", "train/a.csv", "train/empty/", "train/sub/b.csv", "train2/c.csv", "training.csv"},
	} {
		t.Run(uri, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, "true")
			for _, key := range keys {
				content := key
				if strings.HasSuffix(key, "/") {
					content = ""
				}
				b.put(t, platform.URI("s3://data/"+key), content)
			}
			b.input("train", uri)
			wantKind(t, b.run(t), platform.Succeeded)
			if got := listing(t, filepath.Join(b.cfg.Root, "input/data/train")); !slices.Equal(got, want) {
				t.Errorf("files are %q, want %q", got, want)
			}
		})
	}
}

func TestManyObjects(t *testing.T) {
	t.Parallel()
	b := newBench(t, "true")
	for i := range 500 {
		b.put(t, platform.URI(fmt.Sprintf("s3://data/d/%d/%d", i%7, i)), fmt.Sprint("content ", i))
	}
	large := strings.Repeat("0123456789abcdef", 2<<20)
	b.put(t, "s3://data/d/large", large)
	b.input("train", "s3://data/d")
	wantKind(t, b.run(t), platform.Succeeded)
	for i := range 500 {
		got, err := os.ReadFile(filepath.Join(b.cfg.Root, "input/data/train", fmt.Sprint(i%7), fmt.Sprint(i)))
		if err != nil || string(got) != fmt.Sprint("content ", i) {
			t.Fatalf("file %d holds %q (%v)", i, got, err)
		}
	}
	if got, err := os.ReadFile(filepath.Join(b.cfg.Root, "input/data/train/large")); err != nil || string(got) != large {
		t.Errorf("the large file differs (%v)", err)
	}
}

func TestManifestAndShards(t *testing.T) {
	t.Parallel()
	var seen []string
	for i, host := range []string{"algo-1", "algo-2", "algo-3"} {
		b := newBench(t, "true")
		for j := range 7 {
			b.put(t, platform.URI(fmt.Sprintf("s3://data/m/x/%d", j)), fmt.Sprint(j))
		}
		b.put(t, "s3://data/manifest.json", `[{"prefix": "s3://data/m/"}, "x/0", "x/1", "x/2", "x/3", "x/4", "x/5", "x/6"]`)
		b.assignment.Host, b.assignment.Hosts = host, []string{"algo-1", "algo-2", "algo-3"}
		b.input("train", "s3://data/manifest.json", func(c *sagemaker.Channel) {
			c.DataSource.S3DataSource.S3DataType = new(sagemaker.S3DataTypeManifestFile)
			c.DataSource.S3DataSource.S3DataDistributionType = new(sagemaker.S3DataDistributionShardedByS3Key)
		})
		wantKind(t, b.run(t), platform.Succeeded)
		got := listing(t, filepath.Join(b.cfg.Root, "input/data/train"))
		if len(got) != []int{3, 2, 2}[i] {
			t.Errorf("%s got %q", host, got)
		}
		seen = append(seen, got...)
	}
	if want := []string{"x/0", "x/1", "x/2", "x/3", "x/4", "x/5", "x/6"}; !slices.Equal(sorted(seen), want) {
		t.Errorf("together they got %q, want %q", seen, want)
	}
}

func TestBadInputs(t *testing.T) {
	t.Parallel()
	manifest := func(c *sagemaker.Channel) {
		c.DataSource.S3DataSource.S3DataType = new(sagemaker.S3DataTypeManifestFile)
	}
	for name, c := range map[string]struct {
		key, content string
		uri          string
		change       func(*sagemaker.Channel)
		reason       []string
	}{
		"no bucket":        {uri: "s3://nowhere/x", reason: []string{`ClientError: No S3 objects found under S3 URL "s3://nowhere/x" given in input data source.`, "us-east-1", `role "arn:aws:iam::123456789012:role/R"`, `bucket "nowhere"`}},
		"empty prefix":     {uri: "s3://data/none/", reason: []string{`S3 URL "s3://data/none/"`}},
		"leads out":        {key: "t/../../../evil", content: "x", uri: "s3://data/t", reason: []string{"cannot be stored", `".."`}},
		"zero byte":        {key: "t/a\x00b", content: "x", uri: "s3://data/t", reason: []string{"zero byte"}},
		"long name":        {key: "t/" + strings.Repeat("n", 300), content: "x", uri: "s3://data/t", reason: []string{"300 bytes"}},
		"pipe":             {key: "t/a", content: "x", uri: "s3://data/t", change: func(c *sagemaker.Channel) { c.InputMode = new(sagemaker.TrainingInputModePipe) }, reason: []string{"Pipe", "not support"}},
		"no manifest":      {uri: "s3://data/m", change: manifest, reason: []string{"s3://data/m"}},
		"bad manifest":     {key: "m", content: "{", uri: "s3://data/m", change: manifest, reason: []string{"s3://data/m", "not of the form"}},
		"empty manifest":   {key: "m", content: "[]", uri: "s3://data/m", change: manifest, reason: []string{"not of the form"}},
		"manifest escapes": {key: "m", content: `[{"prefix": "s3://data/"}, "../x"]`, uri: "s3://data/m", change: manifest, reason: []string{`"../x"`}},
		"manifest misses":  {key: "m", content: `[{"prefix": "s3://data/"}, "gone"]`, uri: "s3://data/m", change: manifest, reason: []string{"s3://data/gone"}},
		"augmented": {key: "m", content: "{}", uri: "s3://data/m", change: func(c *sagemaker.Channel) {
			c.DataSource.S3DataSource.S3DataType = new(sagemaker.S3DataTypeAugmentedManifestFile)
		}, reason: []string{"AugmentedManifestFile"}},
		"no data source": {uri: "s3://data/m", change: func(c *sagemaker.Channel) { c.DataSource = nil }, reason: []string{"S3DataSource"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, "echo ran")
			if c.key != "" {
				b.put(t, platform.URI("s3://data/"+c.key), c.content)
			}
			change := c.change
			if change == nil {
				change = func(*sagemaker.Channel) {}
			}
			b.input("train", c.uri, change)
			wantKind(t, b.run(t), platform.ClientError, c.reason...)
			if len(b.log()) > 0 {
				t.Error("the user's code ran")
			}
			if _, err := os.Stat(filepath.Join(b.cfg.Root, "..", "..", "evil")); err == nil {
				t.Error("a file was written outside")
			}
		})
	}
}

func TestObjectsThatMeanOneFile(t *testing.T) {
	t.Parallel()
	for name, keys := range map[string][]string{"twice": {"t/a//b", "t/a/b"}, "file and folder": {"t/a", "t/a/b"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, "true")
			for _, key := range keys {
				b.put(t, platform.URI("s3://data/"+key), "x")
			}
			b.input("train", "s3://data/t/")
			wantKind(t, b.run(t), platform.ClientError, "train/a")
		})
	}
}

func TestStoreThatComesBack(t *testing.T) {
	t.Parallel()
	b := newBench(t, "echo m > $ROOT/model/m")
	b.put(t, "s3://data/t/a", "x")
	b.input("train", "s3://data/t")
	var calls atomic.Int64
	b.blobs.Fault = func(method string, _ platform.URI) error {
		if n := calls.Add(1); n%3 != 0 {
			return platform.Errorf(platform.Unavailable, "", "%s: the store is away (%d)", method, n)
		}
		return nil
	}
	o := b.run(t)
	wantKind(t, o, platform.Succeeded)
	b.blobs.Fault = nil
	if got := untar(t, b.get(t, o.Model)); got["m"] != "m\n" {
		t.Errorf("model holds %v", got)
	}
}

func TestStoreThatStaysAwayKeepsTheModel(t *testing.T) {
	t.Parallel()
	b := newBench(t, "echo m > $ROOT/model/m")
	b.cfg.Patience, b.cfg.Outside = 100*time.Millisecond, "/outside/ml"
	b.blobs.Fault = func(method string, u platform.URI) error {
		return platform.Errorf(platform.Unavailable, string(u), "connection refused")
	}
	o := b.run(t)
	wantKind(t, o, platform.InternalError, "/outside/ml/model", "s3://out/models/digits/output", "connection refused")
	if o.Kept != "/outside/ml/model" {
		t.Errorf("Kept is %q", o.Kept)
	}
	if got, err := os.ReadFile(filepath.Join(b.cfg.Root, "model/m")); err != nil || string(got) != "m\n" {
		t.Errorf("the model is gone: %v", err)
	}
}

func TestOutputBucketMissing(t *testing.T) {
	t.Parallel()
	b := newBench(t, "echo m > $ROOT/model/m")
	b.assignment.Output = "s3://nowhere/x"
	wantKind(t, b.run(t), platform.ClientError, "s3://nowhere/x", "kept in")
}

type member struct {
	name, content, link string
	kind                byte
	mode                int64
}

func tarball(t *testing.T, members ...member) []byte {
	t.Helper()
	var out bytes.Buffer
	zipped := gzip.NewWriter(&out)
	archive := tar.NewWriter(zipped)
	for _, m := range members {
		if m.kind == 0 {
			m.kind = tar.TypeReg
		}
		h := &tar.Header{Name: m.name, Typeflag: m.kind, Linkname: m.link, Size: int64(len(m.content)), Mode: m.mode | 0o644}
		if err := archive.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := archive.Write([]byte(m.content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(archive.Close(), zipped.Close()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestSource(t *testing.T) {
	t.Parallel()
	b := newBench(t, "pwd; cat train.py; cat lib/x.py; test -x run.sh && echo executable; readlink alias")
	b.put(t, "s3://data/source.tar.gz", string(tarball(t, member{name: "./train.py", content: "train\n"}, member{name: "lib/x.py", content: "x\n"},
		member{name: "run.sh", mode: 0o755}, member{name: "alias", kind: tar.TypeSymlink, link: "lib/x.py"})))
	b.spec.HyperParameters = map[string]string{"sagemaker_submit_directory": "s3://data/source.tar.gz"}
	wantKind(t, b.run(t), platform.Succeeded)
	if got, want := b.log(), []string{filepath.Join(b.cfg.Root, "code"), "train", "x", "executable", "lib/x.py"}; !slices.Equal(got, want) {
		t.Errorf("log is %q, want %q", got, want)
	}
}

func TestBadSource(t *testing.T) {
	t.Parallel()
	whole := tarball(t, member{name: "a", content: strings.Repeat("x", 100_000)})
	for name, c := range map[string]struct {
		content []byte
		reason  string
	}{
		"missing":       {nil, "does not exist"},
		"no archive":    {[]byte("print('hello')"), "not a usable .tar.gz"},
		"cut off":       {whole[:len(whole)/2], "not a usable .tar.gz"},
		"leads out":     {tarball(t, member{name: "../evil", content: "x"}), "outside of it"},
		"absolute":      {tarball(t, member{name: "/tmp/evil", content: "x"}), "outside of it"},
		"link out":      {tarball(t, member{name: "l", kind: tar.TypeSymlink, link: "../../.."}, member{name: "l/evil", content: "x"}), "outside of it"},
		"absolute link": {tarball(t, member{name: "l", kind: tar.TypeSymlink, link: "/etc"}), "outside of it"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t, "echo ran")
			if c.content != nil {
				b.put(t, "s3://data/source.tar.gz", string(c.content))
			}
			b.spec.HyperParameters = map[string]string{"sagemaker_submit_directory": `"s3://data/source.tar.gz"`}
			wantKind(t, b.run(t), platform.ClientError, "s3://data/source.tar.gz", c.reason)
		})
	}
}
