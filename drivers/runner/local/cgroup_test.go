package local

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/stint-ml/stint/platform"
)

func TestHierarchies(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		mounts, membership string
		want               []hierarchy
	}{
		"version 2": {
			"30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n", "0::/system.slice/stint.service\n",
			[]hierarchy{{mount: "/sys/fs/cgroup", own: "/sys/fs/cgroup/system.slice/stint.service", version: 2}},
		},
		"version 1, with controllers that share a mount": {
			"33 31 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n34 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n35 31 0:31 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer\n",
			"4:memory:/a/b\n3:cpu,cpuacct:/\n2:freezer:/\n1:name=systemd:/x\n0::/\n",
			[]hierarchy{
				{mount: "/sys/fs/cgroup/memory", own: "/sys/fs/cgroup/memory/a/b", version: 1, controllers: []string{"memory"}},
				{mount: "/sys/fs/cgroup/cpu,cpuacct", own: "/sys/fs/cgroup/cpu,cpuacct", version: 1, controllers: []string{"cpu"}},
			},
		},
		"a container that sees its part": {
			"33 31 0:29 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n", "4:memory:/docker/abc/sub\n",
			[]hierarchy{{mount: "/sys/fs/cgroup/memory", own: "/sys/fs/cgroup/memory/sub", version: 1, controllers: []string{"memory"}}},
		},
		"none": {"22 27 0:21 / /proc rw - proc proc rw\n", "", nil},
	} {
		if got := parseHierarchies(c.mounts, c.membership); !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: got %+v, want %+v", name, got, c.want)
		}
	}
}

func content(t *testing.T, path ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestLimitsOfVersion2(t *testing.T) {
	t.Parallel()
	rules := cgroupRules{unified: t.TempDir(), suffix: "-x"}
	folders, notes := rules.make("a", platform.Capacity{MilliCPU: 2500, MemoryBytes: 1 << 30}, 100)
	if want := filepath.Join(rules.unified, "a-x"); !slices.Equal(folders, []string{want}) || notes != nil {
		t.Fatalf("folders %v, notes %v", folders, notes)
	}
	for file, want := range map[string]string{"memory.max": "1073741824", "memory.swap.max": "0", "cpu.max": "250000 100000", "pids.max": "100"} {
		if got := content(t, folders[0], file); got != want {
			t.Errorf("%s is %q, want %q", file, got, want)
		}
	}
	for file, text := range map[string]string{"memory.events": "low 0\noom 2\noom_kill 3\noom_group_kill 0\n"} {
		if err := os.WriteFile(filepath.Join(folders[0], file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if m := memoryUse(folders); m != (Memory{LimitBytes: 1 << 30, OOMKills: 3}) {
		t.Errorf("memory is %+v", m)
	}
}

func TestLimitsWhereThereAreNone(t *testing.T) {
	t.Parallel()
	folders, notes := cgroupRules{}.make("a", platform.Capacity{MilliCPU: 1000, MemoryBytes: 1 << 30}, 100)
	if folders != nil || len(notes) != 3 || !strings.Contains(notes[0], "memory") {
		t.Errorf("folders %v, notes %v", folders, notes)
	}
	if m := memoryUse(nil); m != (Memory{}) {
		t.Errorf("memory is %+v", m)
	}
	folders, notes = cgroupRules{unified: "/no/such/folder"}.make("a", platform.Capacity{}, 100)
	if folders != nil || len(notes) != 1 {
		t.Errorf("folders %v, notes %v", folders, notes)
	}
}

func TestBeginsOnce(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	if _, _, err := begin(folder, "x"); !os.IsNotExist(err) {
		t.Errorf("without a bootstrap: %v", err)
	}
	if err := writeJSON(filepath.Join(folder, bootstrapName), bootstrap{Launch: "x"}); err != nil {
		t.Fatal(err)
	}
	if _, started, err := holder(folder); started || err != nil {
		t.Errorf("before: %v, %v", started, err)
	}
	if _, _, err := begin(folder, "y"); !os.IsNotExist(err) {
		t.Errorf("a process of another launch: %v", err)
	}
	first, _, err := begin(folder, "x")
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	if _, _, err := begin(folder, "x"); !os.IsExist(err) {
		t.Errorf("a second time: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(folder, ".*")); len(left) > 0 {
		t.Errorf("it left %v", left)
	}
}
