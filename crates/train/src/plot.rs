//! The losses of a run as a picture.

use plotters::prelude::*;

/// What a run's losses were.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Losses {
    /// Step, and the loss of its batch.
    pub train: Vec<(u64, f32)>,
    /// Step, and the loss of the validation data before it.
    pub valid: Vec<(u64, f32)>,
}

const SIZE: (u32, u32) = (800, 480);
const FAINT: RGBColor = RGBColor(190, 205, 225);
const TRAIN: RGBColor = RGBColor(30, 90, 170);
const VALID: RGBColor = RGBColor(200, 70, 40);

impl Losses {
    /// An SVG: each step's loss faintly, their running mean, and the validation losses.
    pub fn svg(&self, title: &str) -> String {
        let mut svg = String::new();
        // A string takes everything that is drawn; and there are no fonts to be missed in an SVG.
        self.draw(&mut svg, title).expect("drawing to a string");
        svg
    }

    fn draw(&self, svg: &mut String, title: &str) -> Result<(), Box<dyn std::error::Error>> {
        let all = || {
            self.train
                .iter()
                .chain(&self.valid)
                .filter(|(_, loss)| loss.is_finite())
        };
        let last = all().map(|(step, _)| *step).max().unwrap_or(0).max(1);
        let low = all().map(|(_, loss)| *loss).fold(f32::INFINITY, f32::min);
        let high = all().map(|(_, loss)| *loss).fold(f32::NEG_INFINITY, f32::max);
        let (low, high) = if low < high { (low, high) } else { (0.0, 1.0) };
        let edge = 0.05 * (high - low);

        let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .caption(title, ("sans-serif", 20))
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(56)
            .build_cartesian_2d(0..last, low - edge..high + edge)?;
        chart
            .configure_mesh()
            .x_desc("step")
            .y_desc("nats a token")
            .light_line_style(WHITE)
            .draw()?;
        chart.draw_series(LineSeries::new(self.train.iter().copied(), &FAINT))?;
        let lines = [
            ("training, running mean", running_mean(&self.train), TRAIN),
            ("validation", self.valid.clone(), VALID),
        ];
        for (name, points, colour) in lines {
            chart
                .draw_series(LineSeries::new(points, colour.stroke_width(2)))?
                .label(name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
        }
        chart
            .configure_series_labels()
            .background_style(WHITE)
            .border_style(FAINT)
            .draw()?;
        area.present()?;
        Ok(())
    }
}

/// Each point's mean with those before it, of which later ones count more.
fn running_mean(points: &[(u64, f32)]) -> Vec<(u64, f32)> {
    let mut mean = None;
    let smooth = |&(step, loss): &(u64, f32)| {
        let next = mean.map_or(loss, |mean: f32| 0.95 * mean + 0.05 * loss);
        mean = Some(next);
        (step, next)
    };
    points.iter().map(smooth).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_run_has_a_picture() {
        let train: Vec<(u64, f32)> = (0..100).map(|step| (step, 5.0 - step as f32 / 40.0)).collect();
        let valid = vec![(0, 5.1), (50, 4.0), (99, 2.6)];
        let svg = Losses { train, valid }.svg("마라 & co");
        assert!(svg.contains("validation") && svg.contains("마라 &amp; co") && svg.ends_with("</svg>\n"));
        for losses in [vec![], vec![(3, 1.0)], vec![(0, f32::NAN), (1, f32::INFINITY)]] {
            let svg = Losses {
                train: losses.clone(),
                valid: losses,
            }
            .svg("x");
            assert!(svg.starts_with("<svg") && !svg.contains("NaN"), "{svg}");
        }
    }
}
