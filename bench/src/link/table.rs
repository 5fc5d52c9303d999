//! The reports as a table in Markdown, one row each.

use super::measure::Report;
use super::plot::name;

pub(super) fn markdown(reports: &[Report]) -> String {
    let mut out = String::from(
        "| rate, round trip, loss | contender | goodput | from 4 s on | sent / payload | lost % \
         | mean queue ms | control p50 / p99 ms | CPU s/GB |\n\
         | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
    );
    let mut before = String::new();
    for report in reports {
        let cell = cell(report);
        let shown = match cell == before {
            true => "",
            false => cell.as_str(),
        };
        let payload = report.payload_bytes.max(1) as f64;
        out += &format!(
            "| {shown} | {} | {:.1} | {:.1} | {:.3} | {:.1} | {:.1} | {:.0} / {:.0} | {:.1} |\n",
            name(report.contender),
            report.goodput_mbit_s,
            report.settled_mbit_s,
            report.wire_bytes as f64 / payload,
            report.lost_percent,
            report.queue_mean_ms,
            report.control_p50_ms,
            report.control_p99_ms,
            report.cpu_s / payload * 1e9,
        );
        before = cell;
    }
    out
}

/// The link, in words.
pub(super) fn cell(report: &Report) -> String {
    format!(
        "{} Mbit/s, {} ms, {} %",
        report.rate_mbit_s, report.rtt_ms, report.loss_percent
    )
}

const BEGIN: &str = "<!-- link: begin -->\n";
const END: &str = "<!-- link: end -->";

/// The page with this table between its two comments, or, where it has none, the table alone.
pub(super) fn put(page: &str, table: &str) -> String {
    let place = page.split_once(BEGIN);
    let place = place.and_then(|(head, rest)| Some((head, rest.split_once(END)?.1)));
    match place {
        Some((head, tail)) => format!("{head}{BEGIN}\n{table}\n{END}{tail}"),
        None => table.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_takes_the_place_of_the_one_before() {
        let page = "# Figures\n<!-- link: begin -->\n| old |\n<!-- link: end -->\nMore.\n";
        let expected = "# Figures\n<!-- link: begin -->\n\n| new |\n\n<!-- link: end -->\nMore.\n";
        assert_eq!(put(page, "| new |\n"), expected);
        assert_eq!(put("", "| new |\n"), "| new |\n");
    }
}
