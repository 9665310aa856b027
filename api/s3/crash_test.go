package s3_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"

	"github.com/stint-ml/stint/api/s3"
)

// crashDir, when set, makes this test binary a store on that folder, to be killed.
const crashDir = "STINT_TEST_CRASH_DIR"

func serveUntilKilled() error {
	everyone := &accounts{}
	everyone.add("AKIACRASH", account{principal: root()})
	c := config(os.Getenv(crashDir))
	c.Accounts = everyone
	server, err := s3.New(c)
	if err != nil {
		return err
	}
	if err := server.Start(); err != nil {
		return err
	}
	fmt.Println(server.Endpoint())
	<-server.Done()
	return server.Err()
}

// startChild starts a store in a process of its own and gives a client and the means to kill it.
func startChild(t *testing.T, dir string) (c *awss3.Client, kill func()) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), crashDir+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	kill = func() {
		once.Do(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		})
	}
	t.Cleanup(kill)
	endpoint, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the child did not start: %v", err)
	}
	return client(strings.TrimSpace(endpoint), "AKIACRASH", "secret-of-AKIACRASH", ""), kill
}

// Whatever was acknowledged before a kill is there afterwards, whole; what was replaced is old or new, never a mixture.
func TestKilledWhileWriting(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	c, kill := startChild(t, dir)
	bucket := aws.String("crash-bucket")
	if _, err := c.CreateBucket(t.Context(), &awss3.CreateBucketInput{Bucket: bucket}); err != nil {
		t.Fatal(err)
	}
	acknowledged := writeUntilKilled(t, c, *bucket, kill)

	c, _ = startChild(t, dir)
	for w, last := range acknowledged {
		if got := get(t, c, *bucket, fmt.Sprintf("own/%d", w)); got != crashContent(w, last) && got != crashContent(w, last+1) {
			t.Errorf("worker %d: version %d was acknowledged, found %.20q (%d bytes)", w, last, got, len(got))
		}
		for version := 1; version <= last; version++ {
			if got := get(t, c, *bucket, fmt.Sprintf("new/%d/%d", w, version)); got != crashContent(w, version) {
				t.Errorf("worker %d, object %d: found %.20q (%d bytes)", w, version, got, len(got))
			}
		}
	}
}

func crashContent(worker, version int) string {
	return strings.Repeat(fmt.Sprintf("%d-%06d;", worker, version), 3000)
}

// writeUntilKilled gives the last version of each worker that was acknowledged.
func writeUntilKilled(t *testing.T, c *awss3.Client, bucket string, kill func()) []int {
	t.Helper()
	const workers, enough = 8, 25
	acknowledged := make([]int, workers)
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			for version := 1; ; version++ {
				for _, key := range []string{fmt.Sprintf("own/%d", w), fmt.Sprintf("new/%d/%d", w, version)} {
					if _, err := c.PutObject(ctx, &awss3.PutObjectInput{Bucket: &bucket, Key: &key, Body: strings.NewReader(crashContent(w, version))}); err != nil {
						return
					}
				}
				acknowledged[w] = version
				if w == 0 && version == enough {
					kill()
				}
			}
		})
	}
	wg.Wait()
	if acknowledged[0] < enough {
		t.Fatalf("only %v were written", acknowledged)
	}
	return acknowledged
}
