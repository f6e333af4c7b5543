//! The status page: plain HTML of a [`Snapshot`], without scripts, reloaded by the browser.

use std::fmt::{self, Display, Write};
use std::time::SystemTime;

use super::metrics::Phase;
use super::status::{OutputStatus, Snapshot};
use super::view::instant;

const REFRESH_SECONDS: u32 = 5;

const STYLE: &str = "\
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;color:#222;background:#fff}
h1{font-size:1.4rem}h2{font-size:1.1rem;margin-top:2rem}table{border-collapse:collapse;width:100%}
th,td{text-align:left;padding:.25rem .75rem .25rem 0;border-bottom:1px solid #ddd;font-variant-numeric:tabular-nums}
td.n,th.n{text-align:right}.state{padding:.1rem .5rem;border-radius:.25rem;background:#eee}.error{color:#a00}
@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}th,td{border-color:#444}.state{background:#333}.error{color:#f88}}";

/// The whole page.
pub(super) fn html(snapshot: &Snapshot) -> String {
    let mut page = String::with_capacity(4096);
    render(&mut page, snapshot).expect("writing to a string can't fail");
    page
}

fn render(page: &mut String, snapshot: &Snapshot) -> fmt::Result {
    let name = Escaped(&snapshot.connector);
    write!(
        page,
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{name} · sluice</title>\
         <meta http-equiv=\"refresh\" content=\"{REFRESH_SECONDS}\">\
         <meta name=\"viewport\" content=\"width=device-width\"><style>{STYLE}</style></head><body>\
         <h1>{name} <span class=\"state\">{}</span></h1>\
         <p>sluice {} · started {} · {} since {} · <a href=\"status\">status as JSON</a> · <a href=\"metrics\">metrics</a></p>",
        snapshot.state.as_str(),
        env!("CARGO_PKG_VERSION"),
        instant(snapshot.started),
        snapshot.state.as_str(),
        instant(snapshot.state_since),
    )?;
    if let Some(error) = &snapshot.last_error {
        let (code, message) = (Escaped(&error.code), Escaped(&error.message));
        write!(page, "<p class=\"error\">Last error, {}: {code} {message}</p>", instant(error.at))?;
    }
    for (name, output) in &snapshot.outputs {
        render_output(page, name, output)?;
    }
    page.push_str("</body></html>\n");
    Ok(())
}

fn render_output(page: &mut String, name: &str, output: &OutputStatus) -> fmt::Result {
    write!(page, "<h2>{} → {}</h2><p>", Escaped(name), Escaped(&output.table))?;
    match (output.table_version, output.last_commit) {
        (None, _) => page.push_str("Progress not read yet."),
        (Some(version), None) => {
            write!(page, "Table version {version}; no commit since the start.")?
        }
        (Some(version), Some(at)) => {
            write!(page, "Table version {version}, committed {}{}", instant(at), Ago(at))?;
        }
    }
    page.push_str("</p>");
    render_last_batch(page, output)?;
    render_partitions(page, output)
}

fn render_last_batch(page: &mut String, output: &OutputStatus) -> fmt::Result {
    let Some(batch) = &output.last_batch else {
        return Ok(());
    };
    write!(
        page,
        "<p>Last batch: {} rows, {} dead letters; {:.0} records/s in, {:.0} records/s processed. ",
        batch.fates.rows,
        batch.fates.dead_letters,
        batch.rates.input_per_second,
        batch.rates.processed_per_second,
    )?;
    let durations = Phase::ALL.map(|phase| {
        format!("{} {:.0} ms", phase.as_str(), batch.durations.get(phase).as_secs_f64() * 1000.0)
    });
    write!(page, "{}.</p>", durations.join(", "))
}

fn render_partitions(page: &mut String, output: &OutputStatus) -> fmt::Result {
    if output.partitions.is_empty() {
        return Ok(());
    }
    page.push_str(
        "<table><tr><th>topic</th><th class=\"n\">partition</th><th class=\"n\">committed</th>\
         <th class=\"n\">end</th><th class=\"n\">lag, records</th><th class=\"n\">lag, s</th></tr>",
    );
    for (id, partition) in &output.partitions {
        write!(
            page,
            "<tr><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
             <td class=\"n\">{}</td><td class=\"n\">{:.1}</td></tr>",
            Escaped(&id.topic),
            id.partition,
            OrDash(partition.committed),
            OrDash(partition.end),
            OrDash(partition.lag_records()),
            partition.lag_seconds,
        )?;
    }
    page.push_str("</table>");
    Ok(())
}

/// Text that can't be markup.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '&' => f.write_str("&amp;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

struct OrDash<T>(Option<T>);

impl<T: Display> Display for OrDash<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(value) => value.fmt(f),
            None => f.write_str("–"),
        }
    }
}

/// `, 12 s ago`; nothing for a time in the future (a clock set back).
struct Ago(SystemTime);

impl Display for Ago {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.elapsed() {
            Ok(elapsed) => write!(f, ", {} s ago", elapsed.as_secs()),
            Err(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observability::{State, Status};
    use crate::offsets::TopicPartition;

    #[test]
    fn the_page_shows_state_error_and_partitions() {
        let status = Status::new("orders", [("raw", "s3://lake/orders")]);
        status.enter(State::BackingOff);
        status.failed("SL2001", "broker <b>down</b>");
        status.recovered("raw", 812, &[(TopicPartition::new("a&b", 3), 40)]);
        status.end("raw", &[(TopicPartition::new("a&b", 3), 100, 1.25)]);
        let page = html(&status.snapshot());
        for part in [
            "<span class=\"state\">backing off</span>",
            "SL2001 broker &lt;b&gt;down&lt;/b&gt;",
            "raw → s3://lake/orders",
            "Table version 812; no commit since the start.",
            "<td>a&amp;b</td><td class=\"n\">3</td><td class=\"n\">40</td><td class=\"n\">100</td><td class=\"n\">60</td>",
            "http-equiv=\"refresh\"",
        ] {
            assert!(page.contains(part), "no {part:?} in\n{page}");
        }
        assert!(!page.contains("<script") && !page.contains("<b>"));
    }
}
