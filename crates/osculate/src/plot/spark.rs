//! A chart that fits a line of text.

/// A course of numbers in at most `width` characters, each the mean of its share, on a logarithmic scale if all are
/// positive; shares without a finite number are blank.
pub(crate) fn sparkline(values: &[f64], width: usize) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let cells = width.min(values.len());
    let mean = |i: usize| {
        let share = &values[i * values.len() / cells..(i + 1) * values.len() / cells];
        let finite: Vec<f64> = share.iter().copied().filter(|x| x.is_finite()).collect();
        finite.iter().sum::<f64>() / finite.len() as f64
    };
    let mut means: Vec<f64> = (0..cells).map(mean).collect();
    if means.iter().all(|x| x.is_nan() || *x > 0.0) {
        means.iter_mut().for_each(|x| *x = x.ln());
    }
    let (low, high) = means.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), &x| (l.min(x), h.max(x)));
    let bar = |x: &f64| match x {
        x if x.is_nan() => ' ',
        x if high > low => BARS[((x - low) / (high - low) * 7.0).round() as usize],
        _ => BARS[0],
    };
    means.iter().map(bar).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sparklines() {
        assert_eq!(sparkline(&[1.0, 10.0, 100.0], 60), "▁▅█");
        assert_eq!(sparkline(&[-3.5, 0.0, 3.5, f64::NAN], 60), "▁▅█ ");
        assert_eq!(sparkline(&[2.0, 2.0, 2.0], 60), "▁▁▁");
        assert_eq!((sparkline(&[], 60), sparkline(&[f64::NAN], 60)), (String::new(), " ".into()));
        assert_eq!(sparkline(&(0..1000).map(f64::from).collect::<Vec<_>>(), 60).chars().count(), 60);
    }
}
