//! `Chapter`: findings that can be computed, kept as JSON, and shown.

use super::Error;
use super::study::Study;
use crate::plot::Section;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// The findings of one chapter. What [`Chapter::render`] shows it takes from `self`, so that the page is a function of
/// the findings; wall-clock times stand in a field called `timing`, because they alone differ between equal runs.
pub(super) trait Chapter: Serialize + DeserializeOwned {
    /// Short name, as in the JSON.
    const NAME: &'static str;
    /// Heading.
    const TITLE: &'static str;

    /// Does the work, and leaves in the study what later chapters need.
    fn compute(study: &mut Study<'_>) -> Result<Self, Error>;

    /// Text, figures and tables.
    fn render(&self, section: &mut Section);

    /// One number that sums the chapter up, and what it is.
    fn headline(&self) -> (String, String);

    /// One to four lines for a terminal.
    fn summary(&self) -> Vec<String>;
}

/// A chapter behind plain functions over JSON.
pub(super) struct Entry {
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    pub(super) compute: fn(&mut Study<'_>) -> Result<Value, Error>,
    pub(super) render: fn(&Value, &mut Section) -> Result<(), Error>,
    pub(super) headline: fn(&Value) -> Result<(String, String), Error>,
    pub(super) summary: fn(&Value) -> Result<Vec<String>, Error>,
}

/// The entry of a chapter.
pub(super) const fn entry<C: Chapter>() -> Entry {
    Entry {
        name: C::NAME,
        title: C::TITLE,
        compute: |study| {
            let findings = C::compute(study)?;
            serde_json::to_value(&findings).map_err(|e| unreadable::<C>(&e))
        },
        render: |value, section| {
            read::<C>(value)?.render(section);
            Ok(())
        },
        headline: |value| Ok(read::<C>(value)?.headline()),
        summary: |value| Ok(read::<C>(value)?.summary()),
    }
}

fn read<C: Chapter>(value: &Value) -> Result<C, Error> {
    C::deserialize(value).map_err(|e| unreadable::<C>(&e))
}

fn unreadable<C: Chapter>(e: &serde_json::Error) -> Error {
    Error::Findings { chapter: C::NAME.into(), what: e.to_string() }
}
