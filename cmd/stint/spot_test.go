package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"image/color"
	pngformat "image/png"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stint-ml/stint/api/apitest"
	"github.com/stint-ml/stint/decide/bill"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes/sagemaker"
)

// spotRequest is what `stint run --spot` would send.
func spotRequest(name, tags string) string {
	return strings.TrimSuffix(strings.Replace(request(name), `"MaxRuntimeInSeconds": 3600`, `"MaxRuntimeInSeconds": 3600, "MaxWaitTimeInSeconds": 7200`, 1), "}") +
		`, "EnableManagedSpotTraining": true, "CheckpointConfig": {"S3Uri": "s3://bucket/` + name + `/checkpoints/"}, "Tags": [` + tags + `]}`
}

func (b *bundle) createSpot(name, tags string) {
	b.t.Helper()
	status, answer := b.door.JSON(b.t, apitest.Of(b.door.Root), "sagemaker", "SageMaker.CreateTrainingJob", spotRequest(name, tags))
	if status != 200 {
		b.t.Fatalf("create %s: %d %s", name, status, answer)
	}
}

// seedSpot makes a spot job at its second attempt, and one that waits.
func (b *bundle) seedSpot() {
	clock := b.door.Clock
	b.createSpot("saver", `{"Key": "stint:fallback", "Value": "on-demand"}, {"Key": "stint:deadline", "Value": "90m"}`)
	launched := clock.Now()
	clock.Advance(2 * time.Second)
	first := b.line("saver", 1, platform.Spot, usd(34_500_000))
	b.change("saver", func(st *platform.TrainingStatus) {
		b.enter(platform.JobDownloading)(st)
		st.Attempts = []platform.Attempt{{Number: 1, Purchase: platform.Spot, Launched: launched, Started: clock.Now()}}
	}, first)
	clock.Advance(8 * time.Second)
	b.change("saver", func(st *platform.TrainingStatus) {
		b.enter(platform.JobTraining)(st)
		st.Attempts[0].Running = clock.Now()
	})
	clock.Advance(600 * time.Second)
	b.change("saver", func(st *platform.TrainingStatus) {
		a := &st.Attempts[0]
		a.Checkpoint = &platform.Checkpoint{Generation: 7, At: clock.Now(), Files: 3, Bytes: 5 << 20, Shipped: 1 << 20}
		a.Notice = &platform.Interruption{At: clock.Now(), Until: clock.Now().Add(2 * time.Minute), Reason: "spot capacity of ml.m5.large is no longer available"}
		a.Ended, a.Seconds = clock.Now(), 608
		a.Outcome = &platform.Outcome{Kind: platform.Interrupted, Reason: a.Notice.Reason}
		st.Billable = 182
		b.enter(platform.JobInterrupted)(st)
	}, bill.Close(first, clock.Now()))
	clock.Advance(10 * time.Minute)
	b.change("saver", func(st *platform.TrainingStatus) {
		b.enter(platform.JobStarting)(st)
		st.Attempts = append(st.Attempts, platform.Attempt{Number: 2, Purchase: platform.OnDemand, Launched: clock.Now(), Started: clock.Now()})
	}, b.line("saver", 2, platform.OnDemand, usd(115_000_000)))
	clock.Advance(5 * time.Second)
	b.change("saver", func(st *platform.TrainingStatus) {
		b.enter(platform.JobTraining)(st)
		st.Attempts[1].Running = clock.Now()
	})
	b.createSpot("patient", "")
	// One on spot that can be interrupted.
	b.createSpot("victim", "")
	b.change("victim", func(st *platform.TrainingStatus) {
		b.enter(platform.JobDownloading)(st)
		st.Attempts = []platform.Attempt{{Number: 1, Purchase: platform.Spot, Launched: clock.Now(), Started: clock.Now()}}
	})
	clock.Advance(time.Minute)
}

// TestSpotCommands plays testdata/spot.txt as TestCommands does.
func TestSpotCommands(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	b.seedSpot()
	b.play("spot.txt")
}

// TestSpotRun is what the flags of a spot run ask for.
func TestSpotRun(t *testing.T) {
	t.Parallel()
	script := filepath.Join(folder(t, "train.py", ""), "train.py")
	for _, tt := range []struct {
		flags   runFlags
		want    string // of the request, or the error
		mention string
	}{
		{runFlags{runSpotFlags: runSpotFlags{spot: true}}, `{"wait":7200,"tags":null}`, " spot"},
		{runFlags{runSpotFlags: runSpotFlags{spot: true, maxWait: 5 * time.Hour, checkpoint: "s3://b/c", fallback: "none"}},
			`{"wait":18000,"checkpoint":"s3://b/c/","tags":["stint:fallback=none"]}`, " spot"},
		{runFlags{maxRunGiven: true, runSpotFlags: runSpotFlags{spot: true, deadline: "6h"}},
			`{"wait":21600,"tags":["stint:fallback=on-demand","stint:deadline=6h"]}`, " spot, on demand if need be"},
		{runFlags{maxRunGiven: true, runSpotFlags: runSpotFlags{spot: true, maxWait: 9 * time.Hour, deadline: "2026-05-01T18:00:00Z", fallback: "on-demand"}},
			`{"wait":32400,"tags":["stint:fallback=on-demand","stint:deadline=2026-05-01T18:00:00Z"]}`, " spot, on demand if need be"},
		{runFlags{runSpotFlags: runSpotFlags{checkpoint: "s3://b/c/"}}, `{"checkpoint":"s3://b/c/","tags":null}`, ""},
		{runFlags{runSpotFlags: runSpotFlags{checkpoint: "b/c"}}, `--checkpoint "b/c" is not an S3 URI; it should look like s3://bucket/prefix`, ""},
		{runFlags{runSpotFlags: runSpotFlags{maxWait: time.Hour}}, "--max-wait is for spot jobs; add --spot", ""},
		{runFlags{runSpotFlags: runSpotFlags{fallback: "none"}}, "--fallback is for spot jobs; add --spot", ""},
		{runFlags{runSpotFlags: runSpotFlags{deadline: "1h"}}, "--deadline is for spot jobs; add --spot", ""},
		{runFlags{runSpotFlags: runSpotFlags{spot: true, maxWait: time.Minute}}, "--max-wait 1m0s is shorter than --max-run 1h0m0s; it covers waiting and running", ""},
		{runFlags{runSpotFlags: runSpotFlags{spot: true, fallback: "off"}}, `--fallback "off" is neither none nor on-demand`, ""},
		{runFlags{runSpotFlags: runSpotFlags{spot: true, deadline: "soon"}}, `--deadline "soon" is neither a time from now, such as 6h, nor one such as 2026-05-01T18:00:00Z`, ""},
		{runFlags{runSpotFlags: runSpotFlags{spot: true, deadline: "-1h"}}, "--deadline -1h has passed", ""},
		{runFlags{maxRunGiven: true, runSpotFlags: runSpotFlags{spot: true, deadline: "6h", fallback: "none"}}, "--deadline cannot be held by spot alone; leave --fallback none out", ""},
		{runFlags{runSpotFlags: runSpotFlags{spot: true, deadline: "6h"}},
			"--deadline needs --max-run, the most that the script has to compute: what it does not need is time in which spot can be waited for", ""},
	} {
		tt.flags.runtime, tt.flags.instance, tt.flags.maxRun = "exec", "ml.m5.large", time.Hour
		run, err := newBundle(t).planRun(script, tt.flags)
		if err != nil {
			var code *exitError
			if err.Error() != tt.want || !errors.As(err, &code) || code.code != exitUsage {
				t.Errorf("%v\nwant %s", err, tt.want)
			}
			continue
		}
		got := struct {
			Wait       *int32   `json:"wait,omitempty"`
			Checkpoint *string  `json:"checkpoint,omitempty"`
			Tags       []string `json:"tags"`
		}{Wait: run.request.StoppingCondition.MaxWaitTimeInSeconds}
		if c := run.request.CheckpointConfig; c != nil {
			got.Checkpoint = c.S3Uri
		}
		for _, tag := range run.request.Tags {
			got.Tags = append(got.Tags, *tag.Key+"="+*tag.Value)
		}
		doc, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		if string(doc) != tt.want || run.purchase != tt.mention || (run.request.EnableManagedSpotTraining != nil) != tt.flags.spot {
			t.Errorf("%s %q\nwant %s %q", doc, run.purchase, tt.want, tt.mention)
		}
	}
}

func TestASpotRunKeepsCheckpoints(t *testing.T) {
	t.Parallel()
	for want, request := range map[string]*sagemaker.CreateTrainingJobRequest{
		"s3://b/job/checkpoints/": {EnableManagedSpotTraining: new(true)},
		"s3://b/own/":             {EnableManagedSpotTraining: new(true), CheckpointConfig: &sagemaker.CheckpointConfig{S3Uri: new("s3://b/own/")}},
		"":                        {},
	} {
		ownCheckpoints(request, "s3://b/job")
		got := ""
		if c := request.CheckpointConfig; c != nil {
			got = *c.S3Uri
		}
		if got != want {
			t.Errorf("checkpoints go to %q, want %q", got, want)
		}
	}
}

// small is a market and a job that take no time to play.
func small(t *testing.T) []string {
	t.Helper()
	file := filepath.Join(folder(t, "m.csv", "seconds,available,price\n0,1,0.5\n1800,0,0.5\n3600,1,0.5\n"), "m.csv")
	return []string{"spot", "sim", "--trace", file, "--work", "1h", "--deadline", "3h", "--changeover", "1m", "--instance", "ml.m5.large", "--on-demand-price", "2"}
}

// plotted draws the small job.
func plotted(t *testing.T, name string) []byte {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if code, _, stderr := newBundle(t).run(append(small(t), "--policy", "spot-only,on-demand", "--plot", file)...); code != 0 {
		t.Fatal(stderr)
	}
	drawn, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return drawn
}

func TestSpotSimDrawsVectors(t *testing.T) {
	t.Parallel()
	drawn := plotted(t, "lanes.svg")
	for d := xml.NewDecoder(bytes.NewReader(drawn)); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("not well formed: %v", err)
		}
	}
	for _, want := range []string{">optimum<", ">spot-only<", ">on-demand<", ">deadline 3 h<", inkSpot, inkOnDemand, inkOffered, "<title>spot from 0.02 h"} {
		if !strings.Contains(string(drawn), want) {
			t.Errorf("no %s in the drawing", want)
		}
	}
}

func TestSpotSimDrawsDots(t *testing.T) {
	t.Parallel()
	image, err := pngformat.Decode(bytes.NewReader(plotted(t, "lanes.png")))
	if err != nil {
		t.Fatal(err)
	}
	found := map[color.RGBA]bool{}
	for y := range image.Bounds().Dy() {
		for x := range image.Bounds().Dx() {
			r, g, b, _ := image.At(x, y).RGBA()
			found[color.RGBA{uint8(r >> 8), uint8(g >> 8), uint8(b >> 8), 255}] = true
		}
	}
	for _, ink := range []string{inkPaper, inkSpot, inkOnDemand, inkOffered, inkText} {
		if c, err := colour(ink); err != nil || !found[c] {
			t.Errorf("no %s in the image (%v)", ink, err)
		}
	}
}

// TestSpotSimRefusals: whatever is wrong with the command line is said before anything is played.
func TestSpotSimRefusals(t *testing.T) {
	t.Parallel()
	dir := folder(t, "bad.csv", "seconds,available\n0,1\n60,?\n", "priced.csv", "seconds,available,price\n0,1,0.5\n", "types.csv", "seconds,available,instance_type\n0,1,ml.a\n0,1,ml.b\n")
	for _, tt := range []struct{ args, want string }{
		{"--trace DIR/none.csv", "--trace: there is no trace file DIR/none.csv"},
		{"--trace DIR/bad.csv", `--trace: DIR/bad.csv, line 3, column 4: available: "?" is neither 1 nor 0`},
		{"--policy best", `--policy "best" is not known; there are stint, uniform-progress, greedy, spot-only, on-demand, and all`},
		{"--policy greedy,greedy", "--policy names greedy twice"},
		{"--plot lanes.gif", "--plot lanes.gif should end in .svg or .png"},
		{"--instance ml.none.large", "--instance: instance type ml.none.large is not in the catalogue; add it to catalog.csv in the data folder with its vCPUs, memory and price; or give its price with --on-demand-price"},
		{"--on-demand-price cheap", "--on-demand-price cheap is no price above 0"},
		{"--spot-price 9", "--spot-price 9 is no price above 0 and at most the one on demand, 3.825 USD"},
		{"--trace DIR/priced.csv --spot-price 1", "--spot-price 1: DIR/priced.csv has prices of its own"},
		{"--trace DIR/types.csv", "DIR/types.csv says nothing of ml.p3.2xlarge, only of ml.a, ml.b"},
		{"--work 3h --deadline 2h", "a deadline of 2h0m0s leaves no time for 3h0m0s of work"},
		{"--work 2h --deadline 2h", "a deadline of 2h0m0s cannot be held: 2h0m0s of work and one changeover of 2m0s do not fit"},
		{"--plot DIR/none/x.svg --policy on-demand --work 1m --deadline 1h", "--plot DIR/none/x.svg cannot be written: open DIR/none/x.svg: no such file or directory"},
	} {
		t.Run(tt.args, func(t *testing.T) {
			t.Parallel()
			code, out, stderr := newBundle(t).run(append([]string{"spot", "sim"}, strings.Fields(strings.ReplaceAll(tt.args, "DIR", dir))...)...)
			if got := strings.ReplaceAll(stderr, dir, "DIR"); code != 2 || out != "" || got != "stint: "+tt.want+"\n" {
				t.Errorf("exit %d, out %q, err %q", code, out, got)
			}
		})
	}
}

func TestSpotSimInColour(t *testing.T) {
	t.Parallel()
	b := newBundle(t)
	b.onOut = true
	_, out, _ := b.run(append(small(t), "--policy", "on-demand")...)
	if !strings.Contains(out, "The trace ends after 1 h; what held then is taken to go on.") {
		t.Errorf("nothing is said of the trace's end: %s", out)
	}
	for _, m := range marks {
		if !strings.Contains(out, "\x1b["+m.code+"m"+m.block) {
			t.Errorf("no %q in %s", m.block, out)
		}
	}
}
