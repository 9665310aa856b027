package main

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	pngformat "image/png"
	"math"
	"strings"

	"golang.org/x/image/font"
	"golang.org/x/image/font/gofont/gobold"
	"golang.org/x/image/font/gofont/goregular"
	"golang.org/x/image/font/opentype"
	"golang.org/x/image/math/fixed"
	"golang.org/x/image/vector"
)

// svg draws a picture as scalable vectors.
func svg(p *picture) ([]byte, error) {
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %s %s" width="%s" height="%s" font-family="system-ui, -apple-system, 'Segoe UI', Helvetica, Arial, sans-serif" role="img">`+"\n",
		number(p.width), number(p.height), number(p.width), number(p.height))
	fmt.Fprintf(&b, "<title>%s</title>\n", escaped(p.title))
	for _, r := range p.boxes {
		fmt.Fprintf(&b, `<rect x="%s" y="%s" width="%s" height="%s" fill="%s"`, number(r.x), number(r.y), number(r.w), number(r.h), r.fill)
		if r.round > 0 {
			fmt.Fprintf(&b, ` rx="%s"`, number(r.round))
		}
		if r.tells == "" {
			b.WriteString("/>\n")
		} else {
			fmt.Fprintf(&b, "><title>%s</title></rect>\n", escaped(r.tells))
		}
	}
	for _, l := range p.lines {
		fmt.Fprintf(&b, `<polyline fill="none" stroke="%s" stroke-width="%s" stroke-linejoin="round" stroke-linecap="round" points="`, l.fill, number(l.width))
		for i, at := range l.points {
			if i > 0 {
				b.WriteByte(' ')
			}
			fmt.Fprintf(&b, "%s,%s", number(at[0]), number(at[1]))
		}
		b.WriteString("\"/>\n")
	}
	for _, t := range p.texts {
		weight := ""
		if t.bold {
			weight = ` font-weight="600"`
		}
		fmt.Fprintf(&b, `<text x="%s" y="%s" font-size="%s"%s text-anchor="%s" fill="%s">%s</text>`+"\n",
			number(t.x), number(t.y), number(t.size), weight, t.anchor, t.fill, escaped(t.text))
	}
	b.WriteString("</svg>\n")
	return b.Bytes(), nil
}

// number is a length to a hundredth of a pixel.
func number(v float64) string {
	return strings.TrimSuffix(strings.TrimRight(fmt.Sprintf("%.2f", v), "0"), ".")
}

func escaped(text string) string {
	var b bytes.Buffer
	_ = xml.EscapeText(&b, []byte(text)) // a buffer does not fail
	return b.String()
}

// dots is how many dots of a PNG make a pixel of the picture, for sharp screens.
const dots = 2

// png draws a picture as dots.
func png(p *picture) ([]byte, error) {
	canvas := image.NewRGBA(image.Rect(0, 0, int(math.Ceil(p.width))*dots, int(math.Ceil(p.height))*dots))
	for _, r := range p.boxes {
		if err := fill(canvas, r); err != nil {
			return nil, err
		}
	}
	for _, l := range p.lines {
		if err := stroke(canvas, l); err != nil {
			return nil, err
		}
	}
	pens := map[bool]*opentype.Font{}
	for bold, ttf := range map[bool][]byte{false: goregular.TTF, true: gobold.TTF} {
		parsed, err := opentype.Parse(ttf)
		if err != nil {
			return nil, err
		}
		pens[bold] = parsed
	}
	for _, t := range p.texts {
		if err := write(canvas, pens[t.bold], t); err != nil {
			return nil, err
		}
	}
	var b bytes.Buffer
	err := pngformat.Encode(&b, canvas)
	return b.Bytes(), err
}

// fill paints a box; dots that it covers in part are mixed.
func fill(canvas *image.RGBA, r box) error {
	ink, err := colour(r.fill)
	if err != nil {
		return err
	}
	x0, x1, y0, y1 := r.x*dots, (r.x+r.w)*dots, r.y*dots, (r.y+r.h)*dots
	for y := int(math.Floor(y0)); float64(y) < y1; y++ {
		for x := int(math.Floor(x0)); float64(x) < x1; x++ {
			covered := (math.Min(x1, float64(x+1)) - math.Max(x0, float64(x))) * (math.Min(y1, float64(y+1)) - math.Max(y0, float64(y)))
			mask := image.NewUniform(color.Alpha{A: uint8(math.Round(255 * covered))})
			draw.DrawMask(canvas, image.Rect(x, y, x+1, y+1), image.NewUniform(ink), image.Point{}, mask, image.Point{}, draw.Over)
		}
	}
	return nil
}

// stroke draws a line, each piece of it as a box that is turned, with a round end on either side.
func stroke(canvas *image.RGBA, l line) error {
	ink, err := colour(l.fill)
	if err != nil {
		return err
	}
	r := vector.NewRasterizer(canvas.Bounds().Dx(), canvas.Bounds().Dy())
	half := l.width * dots / 2
	for i := range l.points[1:] {
		x0, y0, x1, y1 := l.points[i][0]*dots, l.points[i][1]*dots, l.points[i+1][0]*dots, l.points[i+1][1]*dots
		turn := math.Atan2(y1-y0, x1-x0)
		const corners = 8 // of each end
		for c := range 2 * (corners + 1) {
			x, y := x1, y1
			if c > corners {
				x, y = x0, y0
			}
			angle := turn - math.Pi/2 + math.Pi*float64(c-c/(corners+1))/corners
			at := [2]float32{float32(x + half*math.Cos(angle)), float32(y + half*math.Sin(angle))}
			if c == 0 {
				r.MoveTo(at[0], at[1])
			} else {
				r.LineTo(at[0], at[1])
			}
		}
		r.ClosePath()
	}
	r.Draw(canvas, canvas.Bounds(), image.NewUniform(ink), image.Point{})
	return nil
}

func write(canvas *image.RGBA, pen *opentype.Font, t label) error {
	ink, err := colour(t.fill)
	if err != nil {
		return err
	}
	face, err := opentype.NewFace(pen, &opentype.FaceOptions{Size: t.size * dots, DPI: 72, Hinting: font.HintingNone})
	if err != nil {
		return err
	}
	defer face.Close()
	d := font.Drawer{Dst: canvas, Src: image.NewUniform(ink), Face: face}
	x := fixed.I(int(t.x * dots))
	switch t.anchor {
	case "middle":
		x -= d.MeasureString(t.text) / 2
	case "end":
		x -= d.MeasureString(t.text)
	}
	d.Dot = fixed.Point26_6{X: x, Y: fixed.I(int(t.y * dots))}
	d.DrawString(t.text)
	return nil
}

// colour reads #rrggbb.
func colour(text string) (color.RGBA, error) {
	c := color.RGBA{A: 255}
	_, err := fmt.Sscanf(text, "#%02x%02x%02x", &c.R, &c.G, &c.B)
	return c, err
}
