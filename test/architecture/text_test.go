package architecture

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
)

// machinePaths tells which line names a folder of somebody's machine: the checkout's
// own, the one around it, or a home. root and home are this machine's.
func machinePaths(t tree, root, home string) []string {
	patterns := []string{`/home/[A-Za-z0-9._-]+/`, `/Users/[A-Za-z0-9._-]+/`, `/roo[t]/`, `[A-Z]:\\Users\\`}
	for _, folder := range []string{root, path.Dir(root), home} {
		if !ordinaryFolder(folder) {
			patterns = append(patterns, regexp.QuoteMeta(folder)+`(/|$|[^A-Za-z0-9._-])`)
		}
	}
	// A path begins a word: "examples/home/x/" and "https://host/root/" are none of a machine's.
	return grep(t, `(?m)(^|[^A-Za-z0-9._/~}*-])(`+strings.Join(patterns, "|")+`)`, "names a folder of one machine")
}

// ordinaryFolder says whether a folder is one that every machine has.
func ordinaryFolder(folder string) bool {
	ordinary := []string{"", ".", "/", "/data", "/home", "/media", "/mnt", "/opt", "/root", "/srv", "/tmp", "/usr", "/usr/local", "/usr/src", "/var", "/var/tmp"}
	return slices.Contains(ordinary, folder)
}

// trackerNumbers tells which line needs a tracker to be understood: the reason belongs
// in the text, in full.
func trackerNumbers(t tree) []string {
	const number = `(?i)(\bissues?\s?#?\d+\b|\b(fix|fixes|fixed|close|closes|closed|ref|refs|see)\s#\d+\b)`
	return grep(t, number, "refers to a tracker by number")
}

// registryAddresses tells which line ties the project to one package registry:
// clients know their registry, or are told by the machine's settings.
func registryAddresses(t tree) []string {
	// Split, so that this file keeps its own rule.
	hosts := []string{
		"pypi" + ".org", "files.python" + "hosted.org", "proxy." + "golang.org", "sum." + "golang.org", "registry." + "npmjs.org",
		"registry." + "yarnpkg.com", "deb." + "debian.org", "index." + "crates.io", "repo.maven." + "apache.org",
	}
	for i, host := range hosts {
		hosts[i] = regexp.QuoteMeta(host)
	}
	return grep(t, strings.Join(hosts, "|"), "names a package registry's address")
}

// roomsNotInThePlan tells which top folder docs/ARCHITECTURE.md does not name.
func roomsNotInThePlan(t tree) []string {
	const plan = "docs/ARCHITECTURE.md"
	text, ok := t[plan]
	if !ok {
		return []string{plan + " is missing"}
	}
	found := map[string]bool{}
	for name := range t {
		folder, _, nested := strings.Cut(name, "/")
		if !nested || strings.HasPrefix(folder, ".") {
			continue
		}
		if !regexp.MustCompile(`(^|[^A-Za-z0-9_./-])` + regexp.QuoteMeta(folder) + `/`).MatchString(text) {
			found[fmt.Sprintf("%s does not name the folder %s/", plan, folder)] = true
		}
	}
	return keys(found)
}

// grep tells where a pattern stands in the tree's text.
func grep(t tree, pattern, verdict string) []string {
	expression := regexp.MustCompile(pattern)
	var complaints []string
	for name, content := range t {
		for _, at := range expression.FindAllStringIndex(content, -1) {
			line := strings.Count(content[:at[0]], "\n") + 1
			complaints = append(complaints, fmt.Sprintf("%s:%d %s: %q", name, line, verdict, strings.TrimSpace(content[at[0]:at[1]])))
		}
	}
	return complaints
}
