package main

import (
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// versionAnswer is what `stint version` prints.
type versionAnswer struct {
	Version  string `json:"Version"`
	Revision string `json:"Revision,omitempty"` // of the source
	Go       string `json:"Go"`
	Platform string `json:"Platform"`
}

// version reads what the compiler noted in the binary.
func version() versionAnswer {
	v := versionAnswer{Version: "development build", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	if info.Main.Version != "" && info.Main.Version != "(devel)" {
		v.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			v.Revision = s.Value
		}
	}
	return v
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  noArguments,
		RunE: func(*cobra.Command, []string) error {
			v := version()
			if a.json {
				return a.printJSON(v)
			}
			text := "stint " + v.Version
			if v.Revision != "" {
				text += " (" + v.Revision[:min(12, len(v.Revision))] + ")"
			}
			a.print("%s, %s, %s", text, v.Go, v.Platform)
			return nil
		},
	}
}
