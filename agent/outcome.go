package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"unicode/utf8"

	"github.com/stint-ml/stint/platform"
)

// reasonLimit is the length of a FailureReason in characters.
const reasonLimit = 1024

// clientError says that what the job asks for cannot be had.
func clientError(resource, format string, args ...any) error {
	return platform.Errorf(platform.Invalid, resource, format, args...)
}

// diskError tells a full disk, which the job's owner can mend, from other faults of the machine.
func diskError(path string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return clientError(path, "no space is left on the disk of %s: %w; ask for less data or free space on the machine", path, err)
	default:
		return platform.Errorf(platform.Internal, path, "%w", err)
	}
}

// outcomeOf turns the error that ended the work before the user's code ran into an outcome. A nil error gives none.
func (a *agent) outcomeOf(life context.Context, err error) platform.Outcome {
	if err == nil {
		return platform.Outcome{}
	}
	switch why := a.orders.why(life); {
	case why == nil:
		return failed(err)
	case errors.Is(why, errInterrupted):
		return a.interrupted(0)
	default:
		return platform.Outcome{Kind: platform.StopObeyed, Reason: why.Error()}
	}
}

// interrupted is the outcome of a job whose capacity is taken.
func (a *agent) interrupted(code int) platform.Outcome {
	return platform.Outcome{Kind: platform.Interrupted, ExitCode: code, Reason: a.orders.given().Reason}
}

// failed classifies an error: what the job asked for, or the platform's fault.
func failed(err error) platform.Outcome {
	kind := platform.ClientError
	if k := platform.KindOf(err); k == platform.Internal || k == platform.Unavailable {
		kind = platform.InternalError
	}
	return platform.Outcome{Kind: kind, Reason: clip(string(kind)+": "+err.Error(), "")}
}

// judge turns the end of the user's process into an outcome. why is the reason for which it was ended, nil if it was not.
func (a *agent) judge(p *process, why error, tail string) platform.Outcome {
	code := p.exitCode()
	switch {
	case errors.Is(why, errStop):
		return platform.Outcome{Kind: platform.StopObeyed, ExitCode: code}
	case errors.Is(why, errInterrupted):
		// Also with exit code 0: a program that saved its state and left cannot be told from one that was just done, and the latter
		// will be done again soon, as it goes on from its last checkpoint.
		return a.interrupted(code)
	case errors.Is(why, errMaxRun):
		return platform.Outcome{Kind: platform.MaxRuntimeExceeded, ExitCode: code}
	case code == 0:
		return platform.Outcome{Kind: platform.Succeeded}
	}
	text := a.readFailure()
	memory := a.Memory()
	switch {
	case memory.OOMKills > 0 && code == 128+int(syscall.SIGKILL):
		text = fmt.Sprintf("out of memory: the job used more than the %s it may use and the kernel ended it; use an instance type with more memory", bytesText(memory.LimitBytes))
	case text != "":
	case p.signal() != 0:
		text = fmt.Sprintf("the training process was ended by signal %d (%v). %s", p.signal(), p.signal(), tail)
	default:
		text = tail
	}
	return platform.Outcome{
		Kind: platform.AlgorithmError, ExitCode: code,
		Reason: clip(string(platform.AlgorithmError)+": "+strings.TrimSpace(text), fmt.Sprintf(", exit code: %d", code)),
	}
}

// readFailure reads what the user's code says of its failure. The folder belongs to the user, so the path is not trusted: a
// link that leads out of /opt/ml is not followed, and nothing but a regular file is read.
func (a *agent) readFailure() string {
	root, err := os.OpenRoot(a.Root)
	if err != nil {
		return ""
	}
	defer root.Close()
	f, err := root.OpenFile("output/failure", os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return ""
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return ""
	}
	text, err := io.ReadAll(io.LimitReader(f, reasonLimit*utf8.UTFMax))
	if err != nil {
		return ""
	}
	return strings.ToValidUTF8(string(text), "\uFFFD")
}

// clip shortens text so that with its suffix it has at most reasonLimit characters.
func clip(text, suffix string) string {
	room := reasonLimit - utf8.RuneCountInString(suffix)
	if utf8.RuneCountInString(text) > room {
		runes := []rune(text)
		text = string(runes[:room-1]) + "…"
	}
	return text + suffix
}

// bytesText writes an amount of memory or disk for people: "512 MiB", "1.5 GiB".
func bytesText(n int64) string {
	units := []string{"bytes", "KiB", "MiB", "GiB", "TiB", "PiB"}
	value, unit := float64(n), 0
	for value >= 1024 && unit < len(units)-1 {
		value /= 1024
		unit++
	}
	return strings.TrimSuffix(fmt.Sprintf("%.1f", value), ".0") + " " + units[unit]
}

// filesText writes a number of files for people: "1 file", "2 files".
func filesText(n int64) string {
	if n == 1 {
		return "1 file"
	}
	return fmt.Sprintf("%d files", n)
}
