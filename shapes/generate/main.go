// Command generate writes the shape packages from the public AWS service model
// that botocore ships (data/<service>/<version>/service-2.json, Apache-2.0).
//
// It reads shapes/operations.txt, keeps what the operations listed there can
// reach, and writes shapes/<service>/*_gen.go. The model itself is not committed:
// operations.txt pins the version of botocore, and another version is refused, so
// that two people who run the generator get the same bytes. "make shapes" installs
// that version in a throw-away environment and runs this command.
//
// What the generator does not understand it refuses, by name: a trait it would
// drop silently is a wrong API later.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	botocore := flag.String("botocore", "", "the `directory` botocore/data of an installed botocore")
	operations := flag.String("operations", "shapes/operations.txt", "the `file` that lists services and operations")
	out := flag.String("out", "shapes", "the `directory` that gets one folder a service")
	flag.Parse()
	if *botocore == "" || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	if err := generate(*botocore, *operations, *out); err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

// generate writes the packages of every service that the operations file names.
func generate(botocore, operationsFile, out string) error {
	wanted, err := readOperations(operationsFile)
	if err != nil {
		return err
	}
	if err := wanted.checkVersion(botocore); err != nil {
		return err
	}
	for _, service := range wanted.services() {
		model, err := readModel(botocore, service)
		if err != nil {
			return err
		}
		for _, name := range wanted.open[service] {
			shape := model.Shapes[name]
			if shape == nil || len(shape.Enum) == 0 {
				return fmt.Errorf("%s: %s is to be open and is no enum", service, name)
			}
			shape.Open = true
		}
		selected, err := selectShapes(model, wanted.operations[service])
		if err != nil {
			return fmt.Errorf("%s: %w", service, err)
		}
		files, err := emit(selected, service, wanted.version)
		if err != nil {
			return fmt.Errorf("%s: %w", service, err)
		}
		if err := writePackage(filepath.Join(out, packageName(service)), files); err != nil {
			return err
		}
	}
	return nil
}

// writePackage replaces the generated files of a package.
func writePackage(directory string, files map[string][]byte) error {
	if err := os.MkdirAll(directory, 0o755); err != nil {
		return err
	}
	stale, err := filepath.Glob(filepath.Join(directory, "*_gen.go"))
	if err != nil {
		return err
	}
	for _, path := range stale {
		if _, kept := files[filepath.Base(path)]; !kept {
			if err := os.Remove(path); err != nil {
				return err
			}
		}
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(directory, name), content, 0o644); err != nil {
			return err
		}
	}
	return nil
}
