//! Charts as SVG text and reports as self-contained HTML, with nothing but string building.
//!
//! Colours are CSS variables with fallbacks, so that a chart stands alone as an `.svg` file and follows the light or
//! dark theme inside a [`Report`]. Text widths are estimated from character counts: no font is read. Cost is linear in
//! what is drawn; long series and large matrices are thinned to what a screen can show, keeping extremes.

mod axis;
mod bar;
mod colour;
mod heat;
mod images;
mod line;
mod report;
mod spark;
mod svg;

pub use axis::Scale;
pub use bar::{Bar, BarChart};
pub use heat::{HeatMap, HeatScale};
pub use images::{Images, Tile};
pub use line::{LineChart, Series, Stroke};
pub use report::{Figure, Report, Section, Table};

pub(crate) use axis::number;
pub(crate) use spark::sparkline;
