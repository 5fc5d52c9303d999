//! The reports as a drawing: goodput as a part of the link's rate, a bar for each.

use super::Contender;
use super::measure::Report;
use super::table::cell;

const LABEL_WIDTH: f64 = 170.0;
const BAR_WIDTH: f64 = 460.0;
const BAR_HEIGHT: f64 = 9.0;
const GAP: f64 = 8.0;
const HEAD: f64 = 34.0;

pub(super) const fn name(contender: Contender) -> &'static str {
    match contender {
        Contender::Strait => "strait",
        Contender::StraitCubic => "strait, CUBIC",
        Contender::StraitRate => "strait, rate given",
        Contender::QuinnBbr => "quinn, BBR",
        Contender::TcpCubic => "TCP CUBIC",
        Contender::TcpBbr => "TCP BBR",
    }
}

const fn color(contender: Contender) -> &'static str {
    match contender {
        Contender::Strait => "#1b6ca8",
        Contender::StraitCubic => "#7fb2d9",
        Contender::StraitRate => "#0b3c5d",
        Contender::QuinnBbr => "#8e6c8a",
        Contender::TcpCubic => "#c9a227",
        Contender::TcpBbr => "#b5523b",
    }
}

pub(super) fn svg(reports: &[Report]) -> String {
    let mut body = String::new();
    let mut contenders: Vec<Contender> = Vec::new();
    let mut y = HEAD;
    let mut before = String::new();
    for report in reports {
        let cell = cell(report);
        if cell != before {
            y += GAP;
            let (x, base) = (LABEL_WIDTH - 8.0, y + BAR_HEIGHT);
            body += &text(x, base, "end", &cell);
            before = cell;
        }
        if !contenders.contains(&report.contender) {
            contenders.push(report.contender);
        }
        let part = (report.goodput_mbit_s / report.rate_mbit_s).clamp(0.0, 1.0);
        body += &bar(LABEL_WIDTH, y, BAR_WIDTH * part, report.contender);
        let percent = format!("{:.0}", 100.0 * part);
        body += &text(
            LABEL_WIDTH + BAR_WIDTH * part + 4.0,
            y + BAR_HEIGHT - 1.0,
            "start",
            &percent,
        );
        y += BAR_HEIGHT + 1.0;
    }
    let mut legend = String::new();
    for (index, contender) in contenders.into_iter().enumerate() {
        let x = LABEL_WIDTH + index as f64 * 120.0;
        legend += &bar(x, 16.0, 12.0, contender);
        legend += &text(x + 16.0, 24.0, "start", name(contender));
    }
    let (width, height) = (LABEL_WIDTH + BAR_WIDTH + 40.0, y + GAP);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"sans-serif\" font-size=\"9\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"{LABEL_WIDTH}\" y=\"10\">Goodput, percent of the link's rate, start-up \
         included</text>\n{legend}{body}</svg>\n"
    )
}

fn bar(x: f64, y: f64, width: f64, contender: Contender) -> String {
    let color = color(contender);
    format!(
        "<rect x=\"{x:.0}\" y=\"{y:.0}\" width=\"{width:.1}\" height=\"{BAR_HEIGHT}\" \
         fill=\"{color}\"/>\n"
    )
}

fn text(x: f64, y: f64, anchor: &str, text: &str) -> String {
    format!("<text x=\"{x:.0}\" y=\"{y:.0}\" text-anchor=\"{anchor}\">{text}</text>\n")
}
