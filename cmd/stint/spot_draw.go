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
