package main

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/stint-ml/stint/api/stint"
	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/shapes"
)

// duration shows a length of time in its two largest units: 0.4 s, 42 s, 3 min 12 s, 2 h 5 min, 3 d 4 h, 1 h.
func duration(d time.Duration) string {
	whole := int(d.Seconds())
	pair := func(unit int, name string, below int, nameBelow string) string {
		text := fmt.Sprintf("%d %s", whole/unit, name)
		if rest := whole % unit / below; rest > 0 {
			text += fmt.Sprintf(" %d %s", rest, nameBelow)
		}
		return text
	}
	switch {
	case d < 0:
		return "0 s"
	case d < 10*time.Second:
		return strings.TrimSuffix(fmt.Sprintf("%.1f", d.Seconds()), ".0") + " s"
	case whole < 60:
		return fmt.Sprintf("%d s", whole)
	case whole < 3600:
		return pair(60, "min", 1, "s")
	case whole < 86400:
		return pair(3600, "h", 60, "min")
	default:
		return pair(86400, "d", 3600, "h")
	}
}

// seconds shows whole seconds.
func seconds(n int64) string {
	if n < 60 {
		return fmt.Sprintf("%d s", n)
	}
	return duration(time.Duration(n) * time.Second)
}

// clock shows a running time: 0:07, 12:34, 1:02:03.
func clock(d time.Duration) string {
	s := max(int(d.Seconds()), 0)
	if s < 3600 {
		return fmt.Sprintf("%d:%02d", s/60, s%60)
	}
	return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
}

// age shows how long ago something was, in its largest unit.
func age(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", max(int(d.Seconds()), 0))
	case d < time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 24*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	default:
		return fmt.Sprintf("%d d", int(d.Hours())/24)
	}
}

// moment shows a time in the reader's zone; empty when it has not come.
func moment(t *shapes.Timestamp) string {
	if t == nil {
		return ""
	}
	return t.Local().Format("2006-01-02 15:04:05")
}

// bytesOf shows an amount of data.
func bytesOf(n int64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	value, unit := float64(n)/1024, 0
	for value >= 1024 && unit < len(units)-1 {
		value, unit = value/1024, unit+1
	}
	digits := 1
	if value >= 100 {
		digits = 0
	}
	return fmt.Sprintf("%.*f %ciB", digits, value, units[unit])
}

// exact shows all of an amount's decimals.
func exact(a stint.Amount) string { return strings.TrimSpace(a.Amount + " " + a.Currency) }

// money reads an amount, exactly.
func money(a stint.Amount) (platform.Money, error) {
	nanos, err := platform.ParseNanos(cmp.Or(a.Amount, "0"))
	return platform.Money{Nanos: nanos, Currency: platform.Currency(a.Currency)}, err
}

// rounded shows an amount to six decimals, which a second of the smallest instance still fills; exact shows all nine.
func rounded(a stint.Amount) string {
	m, err := money(a)
	if err != nil {
		return exact(a)
	}
	millionths := (m.Nanos + 500) / 1000
	return strings.TrimSpace(fmt.Sprintf("%d.%06d %s", millionths/1_000_000, millionths%1_000_000, m.Currency))
}

// bar draws how much of something is done.
func bar(done, total int64, columns int) string {
	filled := 0
	if total > 0 {
		filled = int(min(done, total) * int64(columns) / total)
	}
	return strings.Repeat("━", filled) + strings.Repeat("─", columns-filled)
}

// plural counts things.
func plural(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}

// quoteShell makes one word of a shell command.
func quoteShell(word string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("@%+=:,./-_", r)
	}
	if word != "" && strings.IndexFunc(word, func(r rune) bool { return !plain(r) }) < 0 {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}
