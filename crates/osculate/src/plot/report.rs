//! A report: sections of prose, figures and tables as one HTML file without outside resources, and the same numbers as JSON.

use super::colour::dark_rules;
use super::svg::escape;
use super::{BarChart, HeatMap, Images, LineChart};
use serde_json::{Value, json};
use std::fmt::Write;

/// A table; columns whose cells all look like numbers are set flush right.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with named columns.
    pub fn new<S: Into<String>>(header: impl IntoIterator<Item = S>) -> Self {
        Table { header: header.into_iter().map(Into::into).collect(), rows: Vec::new() }
    }

    /// Adds a row; missing cells stay empty, cells beyond the header are dropped.
    pub fn row<S: Into<String>>(mut self, cells: impl IntoIterator<Item = S>) -> Self {
        let mut row: Vec<String> = cells.into_iter().map(Into::into).collect();
        row.resize(self.header.len(), String::new());
        self.rows.push(row);
        self
    }

    fn is_numeric(&self, col: usize) -> bool {
        let looks = |c: &str| {
            c.is_empty() || c == "–" || c.starts_with(|ch: char| ch.is_ascii_digit() || "+-−±<>≈".contains(ch))
        };
        !self.rows.is_empty() && self.rows.iter().all(|r| looks(&r[col]))
    }

    fn html(&self) -> String {
        let class = |j: usize| {
            if self.is_numeric(j) { " class=\"n\"" } else { "" }
        };
        let line = |tag: &str, cells: &[String], inline: bool| {
            let cells = cells.iter().enumerate().map(|(j, c)| {
                let c = if inline { markup(c) } else { escape(c) };
                format!("<{tag}{}>{c}</{tag}>", class(j))
            });
            format!("<tr>{}</tr>\n", cells.collect::<String>())
        };
        let body: String = self.rows.iter().map(|r| line("td", r, true)).collect();
        let head = line("th", &self.header, false);
        format!("<div class=\"scroll\"><table><thead>\n{head}</thead><tbody>\n{body}</tbody></table></div>\n")
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Block {
    Prose(String),
    Note(String),
    Code(String),
    Cards(Vec<(String, String)>),
    Table(Table),
    Figures(Vec<Drawn>),
}

/// A figure as it will stand in the page: one drawing, or one for wide and one for narrow screens.
#[derive(Clone, Debug, PartialEq)]
struct Drawn {
    wide: String,
    narrow: Option<String>,
    caption: String,
    data: Value,
}

/// Any kind of chart, to be put into a section.
#[derive(Clone, Copy, Debug)]
pub enum Figure<'a> {
    /// Lines and points.
    Lines(&'a LineChart),
    /// Bars.
    Bars(&'a BarChart),
    /// A matrix.
    Heat(&'a HeatMap),
    /// Small pictures.
    Images(&'a Images),
}

/// Widths of drawings, in pixels: across the page, a matrix or a table of cells there, in half of it, on a phone.
const WIDE: f64 = 740.0;
const MATRIX: f64 = 430.0;
const CELLS: f64 = 560.0;
const HALF: f64 = 366.0;
const NARROW: f64 = 360.0;

impl Figure<'_> {
    fn title(&self) -> &str {
        match self {
            Figure::Lines(f) => f.title(),
            Figure::Bars(f) => f.title(),
            Figure::Heat(f) => f.title(),
            Figure::Images(f) => f.title(),
        }
    }

    fn svg(&self, width: f64) -> String {
        match self {
            Figure::Lines(f) => f.svg(width),
            Figure::Bars(f) => f.svg(width),
            Figure::Heat(f) => f.svg(width),
            Figure::Images(f) => f.svg(width),
        }
    }

    /// What fits a phone as it is (a matrix, a figure of half the page's width) is drawn once, everything else twice.
    fn draw(&self, half: bool, caption: String) -> Drawn {
        let mut data = match self {
            Figure::Lines(f) => json!(f),
            Figure::Bars(f) => json!(f),
            Figure::Heat(f) => json!(f),
            Figure::Images(f) => json!(f),
        };
        data["title"] = json!(self.title());
        let (wide, twice) = match self {
            _ if half => (HALF, false),
            Figure::Heat(f) if f.is_table() => (CELLS, true),
            Figure::Heat(_) => (MATRIX, false),
            _ => (WIDE, true),
        };
        Drawn { wide: self.svg(wide), narrow: twice.then(|| self.svg(NARROW)), caption, data }
    }
}

/// One section of a report.
#[derive(Clone, Debug, PartialEq)]
pub struct Section {
    title: String,
    blocks: Vec<Block>,
    results: serde_json::Map<String, Value>,
}

impl Section {
    /// Paragraphs, separated by blank lines; `` `code` `` and `**strong**` are understood, everything else is literal.
    pub fn prose(&mut self, text: impl Into<String>) -> &mut Self {
        self.push(Block::Prose(text.into()))
    }

    /// A set-off remark.
    pub fn note(&mut self, text: impl Into<String>) -> &mut Self {
        self.push(Block::Note(text.into()))
    }

    /// Verbatim text.
    pub fn code(&mut self, text: impl Into<String>) -> &mut Self {
        self.push(Block::Code(text.into()))
    }

    /// A few headline numbers: value and what it is.
    pub fn cards<A: Into<String>, B: Into<String>>(&mut self, cards: impl IntoIterator<Item = (A, B)>) -> &mut Self {
        self.push(Block::Cards(cards.into_iter().map(|(a, b)| (a.into(), b.into())).collect()))
    }

    /// A table.
    pub fn table(&mut self, table: Table) -> &mut Self {
        self.push(Block::Table(table))
    }

    /// A line chart.
    pub fn lines(&mut self, chart: &LineChart, caption: impl Into<String>) -> &mut Self {
        self.figure(Figure::Lines(chart), caption)
    }

    /// A bar chart.
    pub fn bars(&mut self, chart: &BarChart, caption: impl Into<String>) -> &mut Self {
        self.figure(Figure::Bars(chart), caption)
    }

    /// A heat map.
    pub fn heat(&mut self, map: &HeatMap, caption: impl Into<String>) -> &mut Self {
        self.figure(Figure::Heat(map), caption)
    }

    /// Small pictures.
    pub fn images(&mut self, images: &Images, caption: impl Into<String>) -> &mut Self {
        self.figure(Figure::Images(images), caption)
    }

    /// A figure across the page.
    pub fn figure(&mut self, figure: Figure<'_>, caption: impl Into<String>) -> &mut Self {
        self.push(Block::Figures(vec![figure.draw(false, caption.into())]))
    }

    /// Figures side by side, two in a row where there is room; a caption each.
    pub fn beside<'a, S: Into<String>>(&mut self, figures: impl IntoIterator<Item = (Figure<'a>, S)>) -> &mut Self {
        self.push(Block::Figures(figures.into_iter().map(|(f, caption)| f.draw(true, caption.into())).collect()))
    }

    /// A named result in full precision, for the JSON only.
    pub fn result(&mut self, name: impl Into<String>, value: impl Into<Value>) -> &mut Self {
        self.results.insert(name.into(), value.into());
        self
    }

    fn push(&mut self, block: Block) -> &mut Self {
        self.blocks.push(block);
        self
    }
}

/// A report under construction.
///
/// ```
/// use osculate::plot::{Report, Table};
/// let mut r = Report::new("Curvature of a small net", "What the Hessian looks like after training.");
/// r.section("Setting").prose("A net with **1000** parameters.").table(Table::new(["layer", "size"]).row(["0", "640"]));
/// let html = r.html();
/// assert!(html.starts_with("<!doctype html>") && html.contains("<strong>1000</strong>"));
/// assert_eq!(r.json()["sections"][0]["tables"][0]["rows"][0][1], "640");
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    title: String,
    lead: String,
    sections: Vec<Section>,
    footer: String,
}

impl Report {
    /// An empty report; `lead` is the sentence under the title.
    pub fn new(title: impl Into<String>, lead: impl Into<String>) -> Self {
        Report { title: title.into(), lead: lead.into(), sections: Vec::new(), footer: String::new() }
    }

    /// Adds a section and returns it for filling.
    pub fn section(&mut self, title: impl Into<String>) -> &mut Section {
        let section = Section { title: title.into(), blocks: Vec::new(), results: serde_json::Map::new() };
        let at = self.sections.len();
        self.sections.push(section);
        &mut self.sections[at]
    }

    /// The line at the end.
    pub fn footer(&mut self, text: impl Into<String>) -> &mut Self {
        self.footer = text.into();
        self
    }

    /// The whole document.
    pub fn html(&self) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail, hence the discarded results.
        let _ = write!(
            out,
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n\
             <style>\n{css}@media (prefers-color-scheme: dark) {{ {dark} }}\n</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n<p class=\"lead\">{lead}</p>\n",
            title = escape(&self.title),
            lead = markup(&self.lead),
            css = include_str!("style.css"),
            dark = dark_rules(),
        );
        if self.sections.len() > 2 {
            out.push_str("<nav><ol>\n");
            for (i, s) in self.sections.iter().enumerate() {
                let _ = writeln!(out, "<li><a href=\"#s{}\">{}</a></li>", i + 1, escape(&s.title));
            }
            out.push_str("</ol></nav>\n");
        }
        let mut figures = 0;
        for (i, s) in self.sections.iter().enumerate() {
            let _ = writeln!(out, "<section>\n<h2 id=\"s{}\">{}</h2>", i + 1, escape(&s.title));
            for b in &s.blocks {
                block_html(&mut out, b, &mut figures);
            }
            out.push_str("</section>\n");
        }
        if !self.footer.is_empty() {
            let _ = writeln!(out, "<footer>{}</footer>", markup(&self.footer));
        }
        out.push_str("</main>\n</body>\n</html>\n");
        out
    }

    /// Every number of the report: per section its tables, the data of its figures, and its named results.
    pub fn json(&self) -> Value {
        let sections: Vec<Value> = self
            .sections
            .iter()
            .map(|s| {
                let (mut tables, mut figures) = (Vec::new(), Vec::new());
                for b in &s.blocks {
                    match b {
                        Block::Table(t) => tables.push(json!({"columns": t.header, "rows": t.rows})),
                        Block::Figures(list) => {
                            figures.extend(list.iter().map(|f| json!({"caption": f.caption, "data": f.data})));
                        }
                        Block::Cards(c) => tables.push(json!({"columns": ["value", "meaning"], "rows": c})),
                        Block::Prose(_) | Block::Note(_) | Block::Code(_) => {}
                    }
                }
                json!({"title": s.title, "tables": tables, "figures": figures, "results": s.results})
            })
            .collect();
        json!({"title": self.title, "lead": self.lead, "sections": sections})
    }
}

fn block_html(out: &mut String, block: &Block, figures: &mut usize) {
    // Writing to a String cannot fail, hence the discarded results.
    match block {
        Block::Prose(text) => {
            for p in text.split("\n\n").map(str::trim).filter(|p| !p.is_empty()) {
                let _ = writeln!(out, "<p>{}</p>", markup(p));
            }
        }
        Block::Note(text) => {
            let _ = writeln!(out, "<div class=\"note\">{}</div>", markup(text));
        }
        Block::Code(text) => {
            let _ = writeln!(out, "<pre>{}</pre>", escape(text));
        }
        Block::Cards(cards) => {
            let three = if cards.len() % 3 == 0 { " three" } else { "" };
            let _ = writeln!(out, "<div class=\"cards{three}\">");
            for (value, meaning) in cards {
                let _ = writeln!(out, "<div><b>{}</b><span>{}</span></div>", escape(value), escape(meaning));
            }
            out.push_str("</div>\n");
        }
        Block::Table(t) => out.push_str(&t.html()),
        Block::Figures(list) => {
            let several = list.len() > 1;
            if several {
                out.push_str("<div class=\"beside\">\n");
            }
            for f in list {
                *figures += 1;
                out.push_str("<figure>\n");
                match &f.narrow {
                    Some(narrow) => {
                        let _ =
                            write!(out, "<div class=\"wide\">{}</div>\n<div class=\"narrow\">{narrow}</div>\n", f.wide);
                    }
                    None => out.push_str(&f.wide),
                }
                let caption = markup(&f.caption);
                let _ = writeln!(out, "<figcaption><b>Figure {figures}.</b> {caption}</figcaption>\n</figure>");
            }
            if several {
                out.push_str("</div>\n");
            }
        }
    }
}

/// Escapes text, then understands `` `code` `` and `**strong**`; unpaired marks stay as they are.
fn markup(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        let pair = [("`", "code"), ("**", "strong")]
            .into_iter()
            .filter_map(|(mark, tag)| {
                let open = rest.find(mark)?;
                let inside = open + mark.len();
                let close = inside + rest[inside..].find(mark)?;
                (close > inside).then_some((open, inside, close, close + mark.len(), tag))
            })
            .min_by_key(|p| p.0);
        let Some((open, inside, close, after, tag)) = pair else {
            out.push_str(&escape(rest));
            break;
        };
        out.push_str(&escape(&rest[..open]));
        let content = &rest[inside..close];
        let content = if tag == "code" { escape(content) } else { markup(content) };
        out.push_str(&format!("<{tag}>{content}</{tag}>"));
        rest = &rest[after..];
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plot::{Scale, Stroke};
    use proptest::prelude::*;

    #[test]
    fn markup_is_small_and_safe() {
        assert_eq!(
            markup("a `x<y` **b `c`** 2*3 ** `"),
            "a <code>x&lt;y</code> <strong>b <code>c</code></strong> 2*3 ** `"
        );
        assert_eq!(markup("<script>"), "&lt;script&gt;");
        assert_eq!(markup("``"), "``");
    }

    #[test]
    fn nothing_is_loaded_from_outside() {
        let mut r = Report::new("<T>", "lead");
        for i in 0..3 {
            let chart = LineChart::new("c").y("y", Scale::Log).series("a", [(0.0, 0.1 + 0.2)], Stroke::Solid);
            r.section(format!("S{i}"))
                .lines(&chart, "caption")
                .note("n")
                .code("<c>")
                .cards([("1", "one")])
                .result("x", 0.1);
        }
        r.footer("end");
        let html = r.html();
        let without_namespace = html.replace("http://www.w3.org/2000/svg", "");
        for bad in ["http", "src=", "<script", "<link", "@import", "url("] {
            assert!(!without_namespace.contains(bad), "{bad}");
        }
        assert!(html.contains("Figure 3.") && html.contains("href=\"#s3\"") && html.contains("&lt;T&gt;"));
        let j = r.json();
        assert_eq!(j["sections"][2]["figures"][0]["data"]["series"][0]["points"][0][1], 0.1 + 0.2);
        assert_eq!(j["sections"][0]["results"]["x"], 0.1);
    }

    #[test]
    fn figures_stand_beside_each_other() {
        let lines = LineChart::new("a").series("s", [(0.0, 1.0)], Stroke::Solid);
        let map = HeatMap::new("b", 1, 1, vec![2.0], crate::plot::HeatScale::Diverging).unwrap();
        let mut r = Report::new("t", "l");
        r.section("s").beside([(Figure::Lines(&lines), "one"), (Figure::Heat(&map), "two")]).lines(&lines, "three");
        let html = r.html();
        assert_eq!((html.matches("class=\"beside\"").count(), html.matches("<figure>").count()), (1, 3));
        // Charts across the page are drawn for wide and for narrow screens, those beside each other once.
        assert_eq!((html.matches("<svg").count(), html.matches("class=\"narrow\"").count()), (4, 1));
        assert_eq!(r.json()["sections"][0]["figures"][1]["data"]["shown"][2][0], 2.0);
    }

    #[test]
    fn numbers_are_flush_right() {
        let t = Table::new(["name", "value"]).row(["a", "1.5"]).row(["b", "−2"]).row(["c"]);
        let html = t.html();
        assert_eq!(html.matches("<td class=\"n\">").count(), 3);
        assert!(html.contains("<td>a</td>"));
    }

    proptest! {
        #[test]
        fn markup_never_panics(text in "[a`*<é ]{0,30}") {
            let html = markup(&text);
            prop_assert_eq!(html.matches("<strong>").count(), html.matches("</strong>").count());
        }
    }
}
