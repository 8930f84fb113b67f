//! A string that becomes an SVG document.

use std::fmt::Write;

pub(crate) const INK: &str = "var(--ink,#1f2430)";
pub(crate) const SOFT: &str = "var(--soft,#667085)";
pub(crate) const GRID: &str = "var(--grid,#e3e6eb)";
pub(crate) const PAPER: &str = "var(--card,#ffffff)";

const SERIES: [&str; 8] = [
    "var(--s0,#2f6bd0)",
    "var(--s1,#d9702b)",
    "var(--s2,#258f68)",
    "var(--s3,#b83f78)",
    "var(--s4,#7a57c7)",
    "var(--s5,#9a7a1c)",
    "var(--s6,#2d93b5)",
    "var(--s7,#6f7480)",
];

/// The colour of the `i`-th series, cyclic.
pub(crate) fn series_colour(i: usize) -> &'static str {
    SERIES[i % SERIES.len()]
}

/// Where a text is held.
#[derive(Clone, Copy)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

/// Escapes text for HTML and XML, in contents and in attributes. Characters that XML forbids become U+FFFD.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\t' | '\n' | '\r' => out.push(c),
            c if (c as u32) < 0x20 || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

/// Estimated width in pixels of a text of the given size.
pub(crate) fn text_width(text: &str, size: f64) -> f64 {
    text.chars()
        .map(|c| match c {
            'i' | 'l' | 'j' | '.' | ',' | ':' | '\'' | '|' | ' ' | 't' | 'f' | 'I' | '(' | ')' => 0.34,
            'm' | 'w' | 'M' | 'W' => 0.86,
            c if c.is_uppercase() => 0.68,
            _ => 0.57,
        })
        .sum::<f64>()
        * size
}

/// Shortens a text to an estimated width, with an ellipsis.
pub(crate) fn fit(text: &str, size: f64, width: f64) -> String {
    if text_width(text, size) <= width {
        return text.to_owned();
    }
    let mut out = String::new();
    for c in text.chars() {
        out.push(c);
        if text_width(&out, size) + 0.8 * size > width {
            out.pop();
            break;
        }
    }
    out.push('…');
    out
}

pub(crate) struct Svg {
    width: f64,
    height: f64,
    body: String,
}

/// Rounds for printing: hundredths of a pixel.
pub(crate) fn px(x: f64) -> f64 {
    (x * 100.0).round() / 100.0 + 0.0
}

impl Svg {
    pub(crate) fn new(width: f64, height: f64) -> Self {
        let mut svg = Svg { width, height, body: String::new() };
        svg.rect(0.0, 0.0, width, height, PAPER, "");
        svg
    }

    // Writing to a String cannot fail, hence the discarded results below.

    pub(crate) fn rect(&mut self, x: f64, y: f64, w: f64, h: f64, fill: &str, more: &str) {
        let (x, y, w, h) = (px(x), px(y), px(w), px(h));
        let _ = writeln!(self.body, r#"<rect x="{x}" y="{y}" width="{w}" height="{h}" style="fill:{fill}" {more}/>"#);
    }

    pub(crate) fn line(&mut self, from: (f64, f64), to: (f64, f64), colour: &str, width: f64) {
        let (x1, y1, x2, y2) = (px(from.0), px(from.1), px(to.0), px(to.1));
        let _ = writeln!(
            self.body,
            r#"<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" style="stroke:{colour};stroke-width:{width}"/>"#
        );
    }

    pub(crate) fn path(&mut self, d: &str, style: &str, more: &str) {
        let _ = writeln!(self.body, r#"<path d="{d}" style="{style}" {more}/>"#);
    }

    pub(crate) fn circle(&mut self, x: f64, y: f64, r: f64, fill: &str) {
        let _ = writeln!(self.body, r#"<circle cx="{}" cy="{}" r="{r}" style="fill:{fill}"/>"#, px(x), px(y));
    }

    pub(crate) fn text(&mut self, x: f64, y: f64, anchor: Anchor, size: f64, colour: &str, text: &str) {
        self.styled_text(x, y, anchor, &format!("font-size:{size}px;fill:{colour}"), "", text);
    }

    pub(crate) fn title(&mut self, x: f64, y: f64, text: &str) {
        self.styled_text(x, y, Anchor::Start, &format!("font-size:15px;font-weight:600;fill:{INK}"), "", text);
    }

    /// A text turned by a quarter, reading upwards, centred on the point.
    pub(crate) fn upward_text(&mut self, x: f64, y: f64, size: f64, colour: &str, text: &str) {
        let turn = format!(r#"transform="rotate(-90 {} {})""#, px(x), px(y));
        self.styled_text(x, y, Anchor::Middle, &format!("font-size:{size}px;fill:{colour}"), &turn, text);
    }

    /// A text whose colour is given by attributes instead of a style, so that a class may replace it.
    pub(crate) fn text_with(&mut self, x: f64, y: f64, anchor: Anchor, size: f64, more: &str, text: &str) {
        self.styled_text(x, y, anchor, &format!("font-size:{size}px"), more, text);
    }

    fn styled_text(&mut self, x: f64, y: f64, anchor: Anchor, style: &str, more: &str, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let _ = writeln!(
            self.body,
            r#"<text x="{}" y="{}" text-anchor="{anchor}" style="{style}" {more}>{}</text>"#,
            px(x),
            px(y),
            escape(text)
        );
    }

    /// The whole document; `label` is what a screen reader says.
    pub(crate) fn finish(self, label: &str) -> String {
        let label = escape(label);
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {w} {h}\" width=\"{w}\" height=\"{h}\" \
             role=\"img\" aria-label=\"{label}\" style=\"font-family:system-ui,-apple-system,'Segoe UI',Roboto,\
             'DejaVu Sans',sans-serif;font-variant-numeric:tabular-nums\">\n{}</svg>\n",
            self.body,
            w = px(self.width),
            h = px(self.height),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_leave_its_element() {
        assert_eq!(escape("a<b & \"c\" 'd'\u{0}"), "a&lt;b &amp; &quot;c&quot; &#39;d&#39;\u{fffd}");
        let mut s = Svg::new(10.0, 10.0);
        s.text(0.0, 0.0, Anchor::Start, 10.0, INK, "</text><script>");
        assert!(!s.finish("\"<").contains("<script>"));
    }

    #[test]
    fn long_labels_are_shortened() {
        let short = fit("embeddings.position_embeddings.weight", 12.0, 120.0);
        assert!(short.ends_with('…') && text_width(&short, 12.0) <= 124.0);
        assert_eq!(fit("bias", 12.0, 120.0), "bias");
    }
}
