//! Curves of a metric: dots for the terminal, lines for a file.

use plotters::prelude::*;

const SIZE: (u32, u32) = (800, 440);
const FAINT: RGBColor = RGBColor(190, 205, 225);
const COLOURS: [RGBColor; 4] = [
    RGBColor(30, 90, 170),
    RGBColor(200, 70, 40),
    RGBColor(60, 140, 60),
    RGBColor(130, 80, 160),
];
/// Of a terminal's plot, in letters; each letter has 2 dots by 4.
const WIDE: usize = 60;
const HIGH: usize = 10;

/// A run's history under one name, as far as it can be drawn.
pub(super) struct Curve {
    name: String,
    points: Vec<(f64, f64)>,
}

impl Curve {
    /// Steps and values, in the order of the steps. What is no number, or endless, can't be drawn.
    pub(super) fn new(name: String, points: impl Iterator<Item = (f64, f64)>) -> Self {
        Self {
            name,
            points: points.filter(|(_, value)| value.is_finite()).collect(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.points.is_empty()
    }
}

/// The smallest and the largest of steps and values, never the same.
fn bounds(curves: &[Curve]) -> ((f64, f64), (f64, f64)) {
    let all = || curves.iter().flat_map(|curve| &curve.points);
    let wide = |values: &mut dyn Iterator<Item = f64>| {
        let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
            (low.min(value), high.max(value))
        });
        if low < high {
            (low, high)
        } else {
            (low - 0.5, high + 0.5)
        }
    };
    (
        wide(&mut all().map(|point| point.0)),
        wide(&mut all().map(|point| point.1)),
    )
}

/// In letters of Braille, with the bounds beside it.
pub(super) fn text(key: &str, curves: &[Curve]) -> String {
    /// The dots of a letter, by column and row.
    const DOTS: [[u8; 4]; 2] = [[0x01, 0x02, 0x04, 0x40], [0x08, 0x10, 0x20, 0x80]];
    let ((first, last), (low, high)) = bounds(curves);
    let mut letters = [[0u8; WIDE]; HIGH];
    let place = |value: f64, from: f64, to: f64, dots: usize| {
        let part = (value / 2.0 - from / 2.0) / (to / 2.0 - from / 2.0);
        ((part * (dots - 1) as f64).round() as usize).min(dots - 1)
    };
    for (step, value) in curves.iter().flat_map(|curve| &curve.points) {
        let x = place(*step, first, last, WIDE * 2);
        let y = HIGH * 4 - 1 - place(*value, low, high, HIGH * 4);
        letters[y / 4][x / 2] |= DOTS[x % 2][y % 4];
    }
    let (high, low) = (super::short(high), super::short(low));
    let beside = high.len().max(low.len());
    let mut text = format!("{key}\n");
    for (row, letters) in letters.iter().enumerate() {
        let label = match row {
            0 => &high,
            _ if row == HIGH - 1 => &low,
            _ => "",
        };
        let letter = |dots: &u8| char::from_u32(0x2800 + u32::from(*dots)).unwrap_or(' ');
        let line: String = letters.iter().map(letter).collect();
        text.push_str(&format!("{label:>beside$} │{line}\n"));
    }
    let (first, last) = (format!("step {}", super::short(first)), super::short(last));
    let gap = WIDE.saturating_sub(first.len() + last.len());
    text.push_str(&format!("{:beside$}  {first}{}{last}\n", "", " ".repeat(gap)));
    text
}

/// An SVG, a line for each run.
pub(super) fn svg(key: &str, curves: &[Curve]) -> String {
    let mut svg = String::new();
    // A string takes everything that is drawn; and there are no fonts to be missed in an SVG.
    draw(&mut svg, key, curves).expect("drawing to a string");
    svg
}

fn draw(svg: &mut String, key: &str, curves: &[Curve]) -> Result<(), Box<dyn std::error::Error>> {
    let ((first, last), (low, high)) = bounds(curves);
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(key, ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(64)
        .build_cartesian_2d(first..last, low..high)?;
    chart
        .configure_mesh()
        .x_desc("step")
        .y_label_formatter(&|value| super::short(*value))
        .light_line_style(WHITE)
        .draw()?;
    for (curve, colour) in curves.iter().zip(COLOURS.iter().cycle()) {
        let colour = *colour;
        chart
            .draw_series(LineSeries::new(
                curve.points.iter().copied(),
                colour.stroke_width(2),
            ))?
            .label(&curve.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE)
        .border_style(FAINT)
        .draw()?;
    area.present()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(points: &[(f64, f64)]) -> Curve {
        Curve::new("마라 & co".into(), points.iter().copied())
    }

    #[test]
    fn a_falling_line_falls() {
        let text = text("loss", &[curve(&[(0.0, 1.0), (10.0, 0.0)])]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), HIGH + 2);
        assert!(lines[1].starts_with("1 │⠁"), "{text}");
        assert!(
            lines[HIGH].starts_with("0 │") && lines[HIGH].ends_with('⢀'),
            "{text}"
        );
        assert!(
            lines[HIGH + 1].contains("step 0") && lines[HIGH + 1].ends_with("10"),
            "{text}"
        );
    }

    #[test]
    fn anything_can_be_drawn() {
        let largest = [(0.0, f64::MAX), (1.0, f64::MIN)];
        for points in [
            &[(1.0, 2.0)][..],
            &[(0.0, f64::NAN), (1.0, 1.0)],
            &[(-5.0, 0.0), (-5.0, 1e-300)],
        ] {
            assert!(!text("x", &[curve(points)]).contains("NaN"));
            let svg = svg("x", &[curve(points), curve(&[(2.0, 2.0)])]);
            assert!(svg.starts_with("<svg") && svg.contains("마라 &amp; co"), "{svg}");
        }
        assert!(text("x", &[curve(&largest)]).contains("step 0"));
        assert!(curve(&[(0.0, f64::INFINITY)]).is_empty());
    }
}
