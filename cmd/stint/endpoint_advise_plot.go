package main

import (
	"cmp"
	"fmt"
	"math"

	"github.com/stint-ml/stint/api/stint"
	"github.com/stint-ml/stint/decide/price"
)

// modeWidths let lines that lie on each other be seen, the wider ones below.
var modeWidths = map[price.Mode]float64{price.RealTime: 7, price.Asleep: 4.6}

// modeInks are of the palette of Okabe and Ito, too.
var modeInks = map[price.Mode]string{
	price.RealTime: "#0072b2", price.Asleep: "#56b4e9", price.Serverless: "#e69f00",
	price.Provisioned: "#d55e00", price.Async: "#009e73", price.Batch: "#cc79a7",
}

// Where a chart is, in pixels, from its top.
const (
	chartLeft   = 96.0
	chartRight  = plotWidth - 60
	chartTop    = 92.0
	chartBottom = 540.0
	chartPitch  = 640.0 // from one variant's chart to the next one's
	leastCost   = 0.01  // of what can be told apart: less lies on the bottom
)

// chart is one variant's costs over its requests, both by their logarithms.
type chart struct {
	*plotter
	v                    *stint.VariantAdvice
	top                  float64 // of the chart in the picture
	least, most, dearest float64 // requests a month, and the highest cost
	currency             string
}

// plotAdvice draws what each mode costs over the requests of a month, a chart a variant.
func plotAdvice(out *stint.GetEndpointAdviceResponse) *picture {
	p := &plotter{}
	p.width, p.height = plotWidth, chartPitch*float64(len(out.Variants))
	p.title = "What it costs to serve " + out.EndpointName
	p.boxes = append(p.boxes, box{w: p.width, h: p.height, fill: inkPaper})
	for i := range out.Variants {
		c := chart{plotter: p, v: &out.Variants[i], top: chartPitch * float64(i), dearest: 1, currency: out.Variants[i].Now.Monthly.Currency}
		title := p.title
		if len(out.Variants) > 1 {
			title += " / " + c.v.VariantName
		}
		c.draw(title)
	}
	return &p.picture
}

func (c *chart) draw(title string) {
	v := c.v
	c.writeBold(24, c.top+38, 20, "start", inkText, title)
	c.write(24, c.top+62, 13, "start", inkFaint, fmt.Sprintf("a month, in %s, over the requests of the month; %s a request, on %s; now %s requests, %s for %s",
		c.currency, took(v.Load.LatencyMilliseconds), v.Now.InstanceType, grouped(v.Load.RequestsPerMonth), modeName(v.Now.Mode), pennies(v.Now.Monthly)))
	if len(v.Curve) < 2 {
		return
	}
	c.least, c.most = float64(v.Curve[0].RequestsPerMonth), float64(v.Curve[len(v.Curve)-1].RequestsPerMonth)
	for _, p := range v.Curve {
		for _, paid := range p.Monthly {
			c.dearest = max(c.dearest, units(paid))
		}
	}
	c.dearest = math.Pow(10, math.Ceil(math.Log10(max(c.dearest, units(v.Now.Monthly)))))
	c.axes()
	for _, m := range price.Modes {
		c.curve(m)
	}
	c.now()
	c.modes()
}

// units is an amount in whole units of its currency, for the eye alone.
func units(a stint.Amount) float64 { return float64(nanos(a)) / 1e9 }

func (c *chart) across(requests float64) float64 {
	part := math.Log(requests/c.least) / math.Log(c.most/c.least)
	return chartLeft + (chartRight-chartLeft)*min(1, max(0, part))
}

func (c *chart) up(cost float64) float64 {
	part := math.Log(max(cost, leastCost)/leastCost) / math.Log(c.dearest/leastCost)
	return c.top + chartBottom - (chartBottom-chartTop)*part
}

// axes draws a line for each power of ten.
func (c *chart) axes() {
	for n := c.least; n <= c.most*1.001; n *= 10 {
		c.boxes = append(c.boxes, box{x: c.across(n) - 0.5, y: c.top + chartTop, w: 1, h: chartBottom - chartTop, fill: inkGrid})
		c.write(c.across(n), c.top+chartBottom+20, 12, "middle", inkFaint, grouped(int64(math.Round(n))))
	}
	for cost := leastCost; cost <= c.dearest*1.001; cost *= 10 {
		c.boxes = append(c.boxes, box{x: chartLeft, y: c.up(cost) - 0.5, w: chartRight - chartLeft, h: 1, fill: inkGrid})
		text := fmt.Sprintf("%.2f", cost)
		switch {
		case cost == leastCost:
			text = "≤ " + text
		case cost > 0.5:
			text = grouped(int64(math.Round(cost)))
		}
		c.write(chartLeft-10, c.up(cost)+4, 12, "end", inkFaint, text)
	}
}

// curve draws a mode's cost, in as many pieces as it takes the load in.
func (c *chart) curve(m price.Mode) {
	var points [][2]float64
	piece := func() {
		if len(points) > 1 {
			c.lines = append(c.lines, line{points: points, width: cmp.Or(modeWidths[m], 2.4), fill: modeInks[m]})
		}
		points = nil
	}
	for _, p := range c.v.Curve {
		paid, can := p.Monthly[string(m)]
		if !can {
			piece()
			continue
		}
		points = append(points, [2]float64{c.across(float64(p.RequestsPerMonth)), c.up(units(paid))})
	}
	piece()
}

// now marks the load that is advised on, and what is paid.
func (c *chart) now() {
	at := c.across(float64(max(1, c.v.Load.RequestsPerMonth)))
	for y := c.top + chartTop; y < c.top+chartBottom; y += 8 { // dashes
		c.boxes = append(c.boxes, box{x: at - 0.75, y: y, w: 1.5, h: 4, fill: inkFaint})
	}
	const size = 11
	y := c.up(units(c.v.Now.Monthly))
	c.boxes = append(c.boxes, box{x: at - size/2, y: y - size/2, w: size, h: size, fill: inkText, round: size / 2, tells: pennies(c.v.Now.Monthly)})
	c.write(at+10, y-10, 12, "start", inkText, "now")
}

// modes is the legend.
func (c *chart) modes() {
	x, y := chartLeft, c.top+chartBottom+56
	for _, m := range price.Modes {
		name := modeNames[m]
		for _, cost := range c.v.Modes {
			if cost.Mode == string(m) && cost.Monthly == nil {
				name += " (cannot)"
			}
		}
		c.boxes = append(c.boxes, box{x: x, y: y - 6, w: 18, h: 4, fill: modeInks[m], round: 2})
		c.write(x+25, y, 13, "start", inkText, name)
		x += 25 + 6.6*float64(len(name)) + 26
	}
}
