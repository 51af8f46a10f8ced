//! How long jobs waited under each policy, as a picture.

use super::report::Report;
use crate::show::span;
use plotters::prelude::*;

const SIZE: (u32, u32) = (800, 440);
const FAINT: RGBColor = RGBColor(190, 205, 225);
const COLOURS: [RGBColor; 3] = [
    RGBColor(150, 150, 150),
    RGBColor(200, 70, 40),
    RGBColor(30, 90, 170),
];
/// Points of a line.
const POINTS: usize = 200;

/// An SVG: the part of all jobs that waited no longer than so long.
pub(crate) fn svg(reports: &[Report]) -> String {
    let mut svg = String::new();
    // A string takes everything that is drawn; and there are no fonts to be missed in an SVG.
    draw(&mut svg, reports).expect("drawing to a string");
    svg
}

fn draw(svg: &mut String, reports: &[Report]) -> Result<(), Box<dyn std::error::Error>> {
    let longest = reports
        .iter()
        .filter_map(|report| report.waits.last().copied())
        .fold(60.0, f64::max);
    let last = longest.log10().max(2.0);
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption("How long jobs wait", ("sans-serif", 20))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(56)
        .build_cartesian_2d(1.0..last, 0.0..1.0)?;
    chart
        .configure_mesh()
        .x_desc("waiting time, logarithmic")
        .y_desc("part of the jobs that waited no longer")
        .x_label_formatter(&|x| span(10f64.powf(*x)))
        .light_line_style(WHITE)
        .draw()?;
    for (report, colour) in reports.iter().zip(COLOURS.iter().cycle()) {
        let point = |i: usize| {
            let x = 1.0 + (last - 1.0) * i as f64 / POINTS as f64;
            let no_longer = report.waits.partition_point(|wait| *wait <= 10f64.powf(x));
            (x, no_longer as f64 / report.waits.len().max(1) as f64)
        };
        let colour = *colour;
        chart
            .draw_series(LineSeries::new((0..=POINTS).map(point), colour.stroke_width(2)))?
            .label(format!("{} (mean {})", report.policy, span(report.mean_wait_s())))
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE)
        .border_style(FAINT)
        .draw()?;
    area.present()?;
    Ok(())
}
