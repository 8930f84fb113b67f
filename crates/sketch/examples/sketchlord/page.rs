//! Tables that stand between two markers of a page.

/// Puts a table between its two markers in a page.
pub(crate) fn replace(page: &str, name: &str, table: &str) -> Result<(), String> {
    let text = std::fs::read_to_string(page).map_err(|e| format!("{page}: {e}"))?;
    let (begin, end) = (format!("<!-- begin {name} -->\n"), format!("<!-- end {name} -->"));
    let missing = || format!("{page}: no place for the table {name}");
    let from = text.find(&begin).map(|at| at + begin.len()).ok_or_else(missing)?;
    let to = text.find(&end).filter(|&to| to >= from).ok_or_else(missing)?;
    let whole = format!("{}\n{table}\n{}", &text[..from], &text[to..]);
    std::fs::write(page, whole).map_err(|e| format!("{page}: {e}"))
}
