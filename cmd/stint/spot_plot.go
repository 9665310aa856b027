package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/stint-ml/stint/platform"
	"github.com/stint-ml/stint/sim"
)

// picture is what a plot shows, for any format.
type picture struct {
	width, height float64
	title         string
	boxes         []box
	lines         []line // over the boxes, under the texts
	texts         []label
}

// line goes from point to point, of which it has two at least.
type line struct {
	points [][2]float64
	width  float64
	fill   string // #rrggbb
}

// box is a filled rectangle.
type box struct {
	x, y, w, h float64
	fill       string // #rrggbb
	round      float64
	tells      string // shown by a viewer that can point at it
}

// label is a line of text; y is its baseline.
type label struct {
	x, y, size float64
	bold       bool
	anchor     string // start, middle, end
	fill       string
	text       string
}

// The palette of Okabe and Ito (2008), which people see apart whatever colours they see.
const (
	inkSpot       = "#0072b2"
	inkOnDemand   = "#e69f00"
	inkChangeover = "#1a1a1a"
	inkWaiting    = "#e4e7eb"
	inkOffered    = "#009e73"
	inkLate       = "#d55e00"
	inkText       = "#1f2933"
	inkFaint      = "#66717d"
	inkGrid       = "#eef0f3"
	inkPaper      = "#ffffff"
)

var inks = map[sim.Stay]string{sim.Waiting: inkWaiting, sim.ChangingOver: inkChangeover, sim.OnSpot: inkSpot, sim.OnDemand: inkOnDemand}

// Where things are, in pixels.
const (
	plotWidth   = 1180.0
	lanesLeft   = 190.0
	lanesRight  = plotWidth - 120
	lanesTop    = 96.0
	lanePitch   = 46.0
	laneHeight  = 26.0
	marketHigh  = 10.0
	leastStroke = 1.4 // of a changeover, which is shorter than a pixel
)

// plotter lays lanes out under each other.
type plotter struct {
	picture
	end time.Duration
	y   float64 // of the next lane
}

// x is where a moment is.
func (p *plotter) x(at time.Duration) float64 {
	return lanesLeft + (lanesRight-lanesLeft)*float64(at)/float64(p.end)
}

func (p *plotter) write(x, y, size float64, anchor, fill, text string) {
	p.texts = append(p.texts, label{x: x, y: y, size: size, anchor: anchor, fill: fill, text: text})
}

func (p *plotter) writeBold(x, y, size float64, anchor, fill, text string) {
	p.texts = append(p.texts, label{x: x, y: y, size: size, bold: true, anchor: anchor, fill: fill, text: text})
}

// plot draws the market, the optimum and a lane a policy.
func plot(s simulated) *picture {
	bottom := lanesTop + marketHigh + 24 + lanePitch*float64(len(s.runs)+1)
	p := &plotter{end: s.end(), y: lanesTop}
	p.width, p.height = plotWidth, bottom+80
	p.title = fmt.Sprintf("%s of work before a deadline of %s", inHours(s.Work), inHours(s.Deadline))
	p.boxes = append(p.boxes, box{w: p.width, h: p.height, fill: inkPaper})
	p.writeBold(24, 38, 20, "start", inkText, p.title)
	p.write(24, 62, 13, "start", inkFaint, fmt.Sprintf("%s, an hour %s on demand, %s; %s from each launch to progress; market: %s",
		s.InstanceType, platform.Money(s.OnDemand), s.spotPrices(), inHours(s.Changeover), filepath.Base(s.Trace.Name)))
	p.grid(bottom, s.Deadline)
	p.market(s)
	p.lane(s.optimumName(), cents(s.optimum.Cost)+" · knows the future", s.optimum)
	for _, r := range s.runs {
		note := cents(r.Cost)
		if percent, known := s.over(r); known {
			note += fmt.Sprintf(" · %+.1f %%", percent)
		}
		p.lane(r.Policy, note, r)
	}
	p.legend(bottom + 58)
	return &p.picture
}

// grid draws the hours, and the deadline.
func (p *plotter) grid(bottom float64, deadline time.Duration) {
	top := lanesTop - 8
	step := roundHours(p.end, 14)
	for at := time.Duration(0); at <= p.end; at += step {
		p.boxes = append(p.boxes, box{x: p.x(at) - 0.5, y: top, w: 1, h: bottom - top, fill: inkGrid})
		if d := p.x(deadline) - p.x(at); d < -30 || d > 30 {
			p.write(p.x(at), bottom+18, 12, "middle", inkFaint, inHours(at))
		}
	}
	for y := top; y < bottom; y += 8 { // dashes
		p.boxes = append(p.boxes, box{x: p.x(deadline) - 0.75, y: y, w: 1.5, h: 4.5, fill: inkText})
	}
	p.writeBold(p.x(deadline), bottom+18, 12, "middle", inkText, "deadline "+inHours(deadline))
}

// market draws when there was capacity.
func (p *plotter) market(s simulated) {
	p.write(lanesLeft-14, p.y+marketHigh, 13, "end", inkFaint, "spot offered")
	p.boxes = append(p.boxes, box{x: p.x(0), y: p.y, w: p.x(p.end) - p.x(0), h: marketHigh, fill: inkGrid})
	for _, span := range s.offered(p.end) {
		p.boxes = append(p.boxes, box{
			x: p.x(span.From), y: p.y, w: p.x(span.To) - p.x(span.From), h: marketHigh, fill: inkOffered, tells: "spot offered " + between(span),
		})
	}
	p.y += marketHigh + 24
}

// lane draws a run. Changeovers come last: they are shorter than a pixel, and count.
func (p *plotter) lane(name, note string, r sim.SpotRun) {
	p.writeBold(lanesLeft-14, p.y+11, 13, "end", inkText, name)
	p.write(lanesLeft-14, p.y+25, 11, "end", inkFaint, note)
	for _, changing := range []bool{false, true} {
		for _, span := range r.Spans {
			if (span.Stay == sim.ChangingOver) != changing {
				continue
			}
			b := box{x: p.x(span.From), y: p.y, w: p.x(span.To) - p.x(span.From), h: laneHeight, fill: inks[span.Stay], tells: span.Stay.String() + " " + between(span)}
			switch span.Stay {
			case sim.ChangingOver:
				b.w = max(b.w, leastStroke)
			case sim.Waiting:
				b.y, b.h = b.y+laneHeight/2-2, 4
			}
			if b.w > 0.01 { // less cannot be written down, nor seen
				p.boxes = append(p.boxes, b)
			}
		}
	}
	ink := inkFaint
	if r.Late {
		ink = inkLate
	}
	p.writeBold(lanesRight+12, p.y+11, 12, "start", ink, fate(r))
	p.write(lanesRight+12, p.y+25, 11, "start", inkFaint, "ended at "+hours(r.Ended()))
	p.y += lanePitch
}

// between tells a span's hours.
func between(s sim.Span) string {
	return fmt.Sprintf("from %.2f h to %.2f h", s.From.Hours(), s.To.Hours())
}

func (p *plotter) legend(y float64) {
	x := lanesLeft
	for _, entry := range []struct{ ink, name string }{
		{inkSpot, "spot"}, {inkOnDemand, "on demand"}, {inkWaiting, "waiting"}, {inkChangeover, "changeover: paid, no progress"}, {inkOffered, "spot capacity offered"},
	} {
		p.boxes = append(p.boxes, box{x: x, y: y - 11, w: 14, h: 14, fill: entry.ink, round: 2})
		p.write(x+21, y, 13, "start", inkText, entry.name)
		x += 21 + 7.2*float64(len(entry.name)) + 24
	}
}

// writePlot draws into a file, whose ending tells the format.
func writePlot(file string, p *picture) error {
	draw := svg
	if filepath.Ext(file) == ".png" {
		draw = png
	}
	image, err := draw(p)
	if err != nil {
		return fmt.Errorf("draw %s: %w", file, err)
	}
	if err := os.WriteFile(file, image, 0o644); err != nil {
		return usage("--plot %s cannot be written: %w", file, err)
	}
	return nil
}
