//! Charts, drawn here as SVG: bars over time, each with its exact value on hover.
//!
//! A chart is stretched to the width that there is, so no text is in it: labels stand beside it, in HTML, and so does a table with the
//! same values. Colours are the style sheet's, light or dark.

use std::fmt::{self, Write as _};

use askama::filters::{Html, HtmlSafe, escape};
use plotters::coord::Shift;
use plotters::prelude::{
    BLACK, ChartBuilder, Color as _, DrawingArea, DrawingAreaErrorKind, IntoDrawingArea as _, PathElement, Rectangle,
    SVGBackend,
};

/// The drawing's own units: stretched, they are no pixels.
const BAR_UNITS: u32 = 10;
const HEIGHT_UNITS: u32 = 200;

/// Of a bar's width, what is left free on either side.
const GAP: f64 = 0.1;

/// The least that is seen of a value that is not zero, as a part of the height.
const SEEN_MIN: f64 = 0.015;

/// What all drawn elements say of their looks, which the style sheet says instead.
const LOOKS: [&str; 2] = [
    " opacity=\"1\" fill=\"#000000\" stroke=\"none\"",
    " fill=\"none\" opacity=\"1\" stroke=\"#000000\" stroke-width=\"1\"",
];

/// One bar.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Bar {
    /// None that is negative or no number is drawn.
    pub(super) value: f64,
    /// What is said on hover.
    pub(super) text: String,
}

/// Bars side by side, the earliest first.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct BarChart {
    /// What it shows, for who does not see it.
    title: String,
    bars: Vec<Bar>,
    /// What the top stands for.
    top: f64,
}

impl BarChart {
    pub(super) fn new(title: impl Into<String>, bars: Vec<Bar>) -> Self {
        let highest = bars.iter().map(|bar| drawn(bar.value)).fold(0.0, f64::max);
        Self { title: title.into(), bars, top: round_up(highest) }
    }

    /// What the top of the chart stands for: a round number, 1 at least.
    pub(super) fn top(&self) -> f64 {
        self.top
    }

    fn width_units(&self) -> u32 {
        BAR_UNITS * u32::try_from(self.bars.len().max(1)).unwrap_or(u32::MAX / BAR_UNITS)
    }

    /// Lines at half and whole height, and the bars, as plotters writes them.
    fn draw(&self) -> Result<String, DrawingAreaErrorKind<std::io::Error>> {
        let mut svg = String::new();
        let area = SVGBackend::with_string(&mut svg, (self.width_units(), HEIGHT_UNITS)).into_drawing_area();
        self.draw_on(&area)?;
        area.present()?;
        drop(area);
        Ok(svg)
    }

    fn draw_on(&self, area: &DrawingArea<SVGBackend<'_>, Shift>) -> Result<(), DrawingAreaErrorKind<std::io::Error>> {
        let width = self.bars.len().max(1) as f64;
        let mut chart = ChartBuilder::on(area).build_cartesian_2d(0.0..width, 0.0..self.top)?;
        let heights = [0.5, 1.0].map(|part| part * self.top);
        chart.draw_series(heights.map(|height| PathElement::new(vec![(0.0, height), (width, height)], BLACK)))?;
        let bars = self.bars.iter().enumerate().filter(|(_, bar)| drawn(bar.value) > 0.0).map(|(i, bar)| {
            let left = i as f64 + GAP;
            let height = drawn(bar.value).max(self.top * SEEN_MIN);
            Rectangle::new([(left, 0.0), (left + 1.0 - 2.0 * GAP, height)], BLACK.filled())
        });
        chart.draw_series(bars)?;
        Ok(())
    }
}

/// An `svg` element: what plotters drew, and above it an invisible column for each bar, which says its value.
impl fmt::Display for BarChart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let drawn = self.draw().unwrap_or_else(|error| {
            tracing::error!(%error, "a chart could not be drawn");
            String::new()
        });
        let Ok(title) = escape(&self.title, Html);
        write!(
            f,
            "<svg class=\"chart\" viewBox=\"0 0 {} {HEIGHT_UNITS}\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{}\">",
            self.width_units(),
            title
        )?;
        f.write_str(&content(&drawn))?;
        f.write_str("<g class=\"hover\">")?;
        for (i, bar) in self.bars.iter().enumerate() {
            let x = i * BAR_UNITS as usize;
            let Ok(text) = escape(&bar.text, Html);
            write!(f, "<rect x=\"{x}\" width=\"{BAR_UNITS}\" height=\"{HEIGHT_UNITS}\"><title>{text}</title></rect>")?;
        }
        f.write_str("</g></svg>")
    }
}

/// It escapes what is not its own.
impl HtmlSafe for BarChart {}

/// What stands in the outermost element, without looks.
fn content(svg: &str) -> String {
    let inner = svg.split_once('>').map_or("", |(_, rest)| rest);
    let inner = inner.rsplit_once("</svg>").map_or(inner, |(inner, _)| inner);
    let mut plain = inner.replace('\n', "");
    for looks in LOOKS {
        plain = plain.replace(looks, "");
    }
    plain
}

fn drawn(value: f64) -> f64 {
    if value.is_finite() && value > 0.0 { value } else { 0.0 }
}

/// The next of 1, 2, 5, 10, 20, 50 and so on.
fn round_up(value: f64) -> f64 {
    let mut power = 1.0;
    while power < 1e15 {
        for step in [1.0, 2.0, 5.0] {
            if value <= step * power {
                return step * power;
            }
        }
        power *= 10.0;
    }
    value.max(1.0)
}

/// A rate as people read it: whole where it is large, with a decimal where that matters.
pub(super) fn rate(value: f64) -> String {
    let mut text = String::new();
    let value = drawn(value);
    // Writing to a String does not fail.
    let _ = if value == 0.0 || value >= 10.0 || value.fract() == 0.0 {
        write!(text, "{}", super::format::Grouped(value.round() as u64))
    } else if value >= 0.1 {
        write!(text, "{value:.1}")
    } else {
        write!(text, "under 0.1")
    };
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(values: &[f64]) -> String {
        let bars = values.iter().map(|&value| Bar { value, text: format!("{value} <&\">") }).collect();
        BarChart::new("Accepted & \"more\"", bars).to_string()
    }

    /// Heights of the bars, from the left.
    fn heights(svg: &str) -> Vec<u32> {
        let bars = svg.split("<g class=\"hover\">").next().unwrap();
        let height = |rect: &str| rect.split("height=\"").nth(1).unwrap().split('"').next().unwrap().parse().unwrap();
        bars.split("<rect ").skip(1).map(height).collect()
    }

    #[test]
    fn bars_are_as_high_as_their_values() {
        let svg = chart(&[5.0, 0.0, 10.0, 2.5]);
        let heights = heights(&svg);
        assert_eq!(heights.len(), 3, "{svg}");
        for (height, expected) in heights.into_iter().zip([100, 200, 50]) {
            assert!(height.abs_diff(expected) <= 1, "{height} for {expected}: {svg}");
        }
        assert_eq!(svg.matches("<title>").count(), 4, "those of zero say so too");
        assert!(svg.contains("viewBox=\"0 0 40 200\""));
    }

    #[test]
    fn nothing_that_is_no_number_is_drawn() {
        let svg = chart(&[f64::NAN, f64::INFINITY, -1.0, 1.0]);
        assert_eq!(heights(&svg).len(), 1);
        let drawn = svg.split("<g class=\"hover\">").next().unwrap();
        assert!(!drawn.contains("NaN") && !drawn.contains("inf"), "{svg}");
        assert_eq!(rate(f64::NAN), "0");
    }

    #[test]
    fn one_bar_and_none_are_charts_too() {
        assert_eq!(heights(&chart(&[3.0])).len(), 1);
        for empty in [chart(&[]), chart(&[0.0, 0.0])] {
            assert!(heights(&empty).is_empty() && empty.ends_with("</g></svg>"), "{empty}");
        }
        let tiny = heights(&chart(&[1_000_000.0, 1.0]));
        assert!(tiny[1] >= 1, "what is not zero is seen");
    }

    #[test]
    fn what_is_said_means_nothing_in_html_and_looks_are_the_sheet_s() {
        let svg = chart(&[1.0, 2.0]);
        assert!(svg.contains("&#38;") || svg.contains("&amp;"));
        assert!(!svg.contains("<&\">"));
        for attribute in ["style=", "fill=", "stroke", "opacity", "<text"] {
            assert!(!svg.contains(attribute), "{attribute} in {svg}");
        }
    }

    #[test]
    fn tops_are_round() {
        for (value, top) in [(0.0, 1.0), (1.0, 1.0), (1.1, 2.0), (3.0, 5.0), (51.0, 100.0), (2_001.0, 5_000.0)] {
            assert_eq!(round_up(value), top, "{value}");
        }
        assert!(round_up(f64::MAX).is_finite());
        assert_eq!([0.0, 0.01, 0.25, 7.0, 12.4, 12_345.0].map(rate).join(" "), "0 under 0.1 0.2 7 12 12,345");
    }
}
