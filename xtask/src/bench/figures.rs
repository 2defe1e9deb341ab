//! What was measured: all of it, not only what was hoped for.

use serde::Serialize;

use crate::output::{self, Format};

/// The result of a benchmark.
#[derive(Debug, Serialize)]
pub(super) struct Figures {
    /// What was measured, in a sentence.
    subject: String,
    series: Vec<Series>,
    ratios: Vec<Ratio>,
}

/// One quantity, measured once or more.
#[derive(Debug, Serialize)]
struct Series {
    name: String,
    /// Empty where it is a mere number.
    unit: &'static str,
    median: f64,
    /// The largest.
    worst: f64,
    /// In the order of measurement.
    all: Vec<f64>,
}

/// How many times more than another a quantity is, by their medians.
#[derive(Debug, Serialize)]
struct Ratio {
    /// The one, and the other.
    of: [String; 2],
    ratio: f64,
}

impl Figures {
    pub(super) fn of(subject: impl Into<String>) -> Figures {
        Figures { subject: subject.into(), series: vec![], ratios: vec![] }
    }

    /// Adds a value to the series of that name, or begins it.
    pub(super) fn add(&mut self, name: impl Into<String>, unit: &'static str, value: f64) {
        let name = name.into();
        let series = match self.series.iter().position(|series| series.name == name) {
            Some(known) => &mut self.series[known],
            None => {
                self.series.push(Series { name, unit, median: value, worst: value, all: vec![] });
                self.series.last_mut().expect("it was just pushed")
            }
        };
        series.all.push(value);
        series.median = median(&series.all);
        series.worst = series.worst.max(value);
    }

    /// The median of a series that has values.
    pub(super) fn median(&self, name: &str) -> Option<f64> {
        self.series.iter().find(|series| series.name == name).map(|series| series.median)
    }

    /// Compares two series that have values.
    pub(super) fn compare(&mut self, one: &str, other: &str) {
        if let (Some(more), Some(less)) = (self.median(one), self.median(other)) {
            self.ratios.push(Ratio { of: [one.to_owned(), other.to_owned()], ratio: more / less });
        }
    }

    pub(super) fn print(&self, format: Format) -> anyhow::Result<()> {
        match format {
            Format::Json => output::json(self),
            Format::Table => output::line(self.text()),
        }
    }

    fn text(&self) -> String {
        let ratios = self.ratios.iter().map(|Ratio { of: [one, other], ratio }| (format!("{one} / {other}"), ratio));
        let full_name = |Series { name, unit, .. }: &Series| match *unit {
            "" => name.clone(),
            unit => format!("{name}, {unit}"),
        };
        let series = self.series.iter().map(|series| (full_name(series), series));
        let (ratios, series): (Vec<_>, Vec<_>) = (ratios.collect(), series.collect());
        let names = ratios.iter().map(|(name, _)| name).chain(series.iter().map(|(name, _)| name));
        let width = names.map(|name| name.len()).max().unwrap_or(0);
        let mut lines = vec![self.subject.clone(), format!("{:<width$}  {:>9}{:>9}  ALL", "", "MEDIAN", "WORST")];
        for (name, Series { median, worst, all, .. }) in series {
            let all: String = all.iter().map(|value| format!("{value:>9.2}")).collect();
            lines.push(format!("{name:<width$}  {median:>9.2}{worst:>9.2}  {all}"));
        }
        lines.extend(ratios.iter().map(|(name, ratio)| format!("{name:<width$}  {ratio:>9.2}")));
        lines.join("\n")
    }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) }
}

#[cfg(test)]
mod tests {
    use super::{Figures, median};

    #[test]
    fn the_median_is_the_middle() {
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < f64::EPSILON);
        assert!((median(&[4.0, 1.0, 2.0, 3.0]) - 2.5).abs() < f64::EPSILON);
    }

    #[test]
    fn every_value_is_printed() {
        let mut figures = Figures::of("there and back");
        for (there, back) in [(3.0, 1.0), (8.0, 2.0), (4.0, 2.5)] {
            figures.add("there", "s", there);
            figures.add("back", "s", back);
        }
        figures.compare("there", "back");
        let expected = "\
there and back
                 MEDIAN    WORST  ALL
there, s           4.00     8.00       3.00     8.00     4.00
back, s            2.00     2.50       1.00     2.00     2.50
there / back       2.00";
        assert_eq!(figures.text(), expected);
    }
}
