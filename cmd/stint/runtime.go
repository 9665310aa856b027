package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stint-ml/stint/drivers/runtimes"
	"github.com/stint-ml/stint/platform"
)

// listedRuntime is what `stint runtime list --json` prints of one.
type listedRuntime struct {
	Name      string   `json:"Name"`
	About     string   `json:"About,omitempty"`
	Images    []string `json:"Images"`
	Installed bool     `json:"Installed"`
	Python    string   `json:"Python,omitempty"`
	Entry     []string `json:"Entry"`

	removable bool
}

func (a *app) runtimeCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "runtime",
		Short: "What container images mean on this machine",
		Long: `A job names a container image. On a machine without containers an image means a runtime: a Python environment, or a
command. The table from the one to the other is kept in the data folder, so these commands need no server.`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(a.runtimeListCommand(), a.runtimeInstallCommand(), a.runtimeAddCommand(), a.runtimeRemoveCommand())
	return c
}

// runtimeTable is the table of the data folder.
func (a *app) runtimeTable() (*runtimes.Table, error) {
	home, err := a.home()
	return runtimes.Open(home.Runtimes()), err
}

func (a *app) runtimeListCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the runtimes and the images they stand for",
		Args:  noArguments,
		RunE: func(*cobra.Command, []string) error {
			found, err := a.listRuntimes()
			if err != nil {
				return err
			}
			if a.json {
				return a.printJSON(map[string]any{"Runtimes": found})
			}
			t := table{head: []string{"NAME", "INSTALLED", "IMAGES", "WHAT"}}
			missing := ""
			for _, r := range found {
				installed := a.onOut.green("yes")
				if !r.Installed {
					installed, missing = a.onOut.dim("no"), r.Name
				}
				t.add(r.Name, installed, strings.Join(r.Images, " "), r.About)
			}
			for _, line := range t.lines(a.onOut) {
				a.print("%s", line)
			}
			if missing != "" {
				a.print("%s", a.onOut.dim("Install one with: "+a.stint("runtime install "+missing)))
			}
			return nil
		},
	}
}

func (a *app) listRuntimes() ([]listedRuntime, error) {
	t, err := a.runtimeTable()
	if err != nil {
		return nil, err
	}
	lines, err := t.List()
	if err != nil {
		return nil, err
	}
	found := []listedRuntime{}
	for _, l := range lines {
		about := l.About
		if about == "" {
			about = strings.TrimSpace(l.Interpreter + " " + strings.Join(l.Entry, " "))
		}
		found = append(found, listedRuntime{
			Name: l.Name, About: about, Images: l.Images, Installed: t.Installed(l), Python: l.Interpreter, Entry: l.Entry,
			removable: l.Own || l.Pins != "" && t.Installed(l),
		})
	}
	return found, nil
}

func (a *app) runtimeInstallCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "install NAME...",
		Short:   "Install built-in runtimes",
		Long:    "Install built-in runtimes into the data folder: exactly pinned packages, from the Python registry that pip is set up for.",
		Example: "  stint runtime install python sklearn",
		Args:    someArguments("the names of runtimes"),
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return a.completeRuntimes(func(r listedRuntime) bool { return !r.Installed })
		},
		RunE: func(c *cobra.Command, args []string) error {
			return a.eachRuntime(c.Context(), args, "Installed", a.installRuntime)
		},
	}
}

// eachRuntime does something with one runtime after the other, and tells in one word that it was done.
func (a *app) eachRuntime(ctx context.Context, names []string, done string, do func(context.Context, *runtimes.Table, string) error) error {
	t, err := a.runtimeTable()
	if err != nil {
		return err
	}
	ctx, stop := a.interruptible(ctx)
	defer stop()
	for _, name := range names {
		if err := do(ctx, t, name); err != nil {
			return err
		}
	}
	if a.json {
		return a.printJSON(map[string][]string{done: names})
	}
	return nil
}

// installRuntime shows pip's last line while it works, and all that it said only where nobody watches.
func (a *app) installRuntime(ctx context.Context, t *runtimes.Table, name string) error {
	lines, err := a.listRuntimes()
	if err != nil {
		return err
	}
	if slices.ContainsFunc(lines, func(r listedRuntime) bool { return r.Name == name && r.Installed }) {
		a.note("%s %s  is installed", a.onErr.green("✓"), name)
		return nil
	}
	began := a.now()
	progress := &progressLines{show: func(line string) {
		if a.live {
			a.setStatus(a.onErr.cyan(name) + a.onErr.dim("  "+clock(a.now().Sub(began))+"  "+line))
		} else {
			a.note("%s", line)
		}
	}}
	err = t.Install(ctx, name, progress)
	a.clearStatus()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return err
	}
	a.note("%s %s  installed in %s", a.onErr.green("✓"), name, duration(a.now().Sub(began)))
	return nil
}

// progressLines cuts what a program writes into lines and shows each.
type progressLines struct {
	show func(line string)
	rest string
}

func (p *progressLines) Write(text []byte) (int, error) {
	p.rest += string(text)
	for {
		line, rest, found := strings.Cut(p.rest, "\n")
		if !found {
			return len(text), nil
		}
		p.rest = rest
		if line = strings.TrimSpace(line); line != "" {
			p.show(line)
		}
	}
}

func (a *app) runtimeAddCommand() *cobra.Command {
	var images []string
	var python, entry string
	c := &cobra.Command{
		Use:   "add NAME",
		Short: "Let an image mean a Python of your own, or a command",
		Long: `Let an image mean a Python of your own, or a command. Jobs run as unprivileged users, so every user must be able to read
the Python. Your lines come before the built-in ones; a name that you have added before is replaced.

In a pattern * stands for any characters; the registry of an image is left out, and a pattern without a tag takes all tags.
In a command {python} and {shim} stand for the interpreter and for the script mode of the SageMaker training toolkit.`,
		Example: `  stint runtime add torch2 --image 'pytorch-training:2.*' --python /opt/torch2/bin/python
  stint runtime add trainer --image my-trainer --entry '/opt/trainer/bin/train --all'`,
		Args: oneArgument("a name"),
		RunE: func(c *cobra.Command, args []string) error {
			if len(images) == 0 || python == "" && entry == "" {
				return usage("a runtime needs an --image, and a --python or an --entry; see: %s --help", c.CommandPath())
			}
			return a.addRuntime(args[0], images, python, strings.Fields(entry))
		},
	}
	c.Flags().StringArrayVar(&images, "image", nil, "`PATTERN` of the images that mean this runtime; repeatable")
	c.Flags().StringVar(&python, "python", "", "`PATH` of the interpreter")
	c.Flags().StringVar(&entry, "entry", "", "`COMMAND` to run, its words parted by blanks (default script mode)")
	return c
}

func (a *app) addRuntime(name string, images []string, python string, entry []string) error {
	t, err := a.runtimeTable()
	if err != nil {
		return err
	}
	line := runtimes.Line{Runtime: platform.Runtime{Name: name, Images: images, Entry: entry}}
	if python != "" {
		abs, err := filepath.Abs(python)
		if err != nil {
			return err
		}
		if info, err := os.Stat(abs); err != nil || info.IsDir() || info.Mode()&0o111 == 0 {
			return usage("--python %s is not an executable file", abs)
		}
		line.Interpreter = abs
	}
	if len(entry) == 0 {
		if line.Entry, err = scriptMode(t); err != nil {
			return err
		}
	}
	if err := t.Add(line); err != nil {
		return err
	}
	if a.json {
		return a.printJSON(listedRuntime{Name: name, Images: images, Installed: true, Python: line.Interpreter, Entry: line.Entry})
	}
	a.print("%s  added for %s", name, strings.Join(images, ", "))
	return nil
}

// scriptMode is the entry of the built-in Python runtime.
func scriptMode(t *runtimes.Table) ([]string, error) {
	lines, err := t.List()
	if err != nil {
		return nil, err
	}
	for _, l := range slices.Backward(lines) { // the built-in ones come last
		if l.Name == defaultRuntime {
			return l.Entry, nil
		}
	}
	return nil, fmt.Errorf("there is no built-in runtime %s to take the entry of", defaultRuntime)
}

func (a *app) completeRuntimes(wanted func(listedRuntime) bool) ([]string, cobra.ShellCompDirective) {
	found, err := a.listRuntimes()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, r := range found {
		if wanted(r) {
			names = append(names, fmt.Sprintf("%s\t%s", r.Name, r.About))
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
