//! Pages that people print or send on: one HTML file with everything in it, no script, nothing fetched.

use std::fmt::Write;

/// A text as it stands in HTML, also inside an attribute.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // Control characters have no place on paper and play tricks in editors.
            c if c.is_control() && c != '\n' => write!(out, "\\u{{{:x}}}", c as u32).expect("strings grow"),
            c => out.push(c),
        }
    }
    out
}

const STYLE: &str = "\
@page { size: A4; margin: 16mm }
:root { color-scheme: light }
body { font: 11pt/1.45 system-ui, 'DejaVu Sans', sans-serif; color: #111; background: #fff; max-width: 178mm; margin: 8mm auto; padding: 0 4mm }
h1 { font-size: 20pt; margin: 0 0 2mm } h2 { font-size: 13pt; margin: 7mm 0 2mm; border-bottom: .4mm solid #0b5; padding-bottom: 1mm }
h3 { font-size: 11pt; margin: 4mm 0 1mm }
table { border-collapse: collapse; width: 100%; font-size: 9.5pt } th, td { text-align: left; vertical-align: top; padding: 1mm 2mm; border-bottom: .2mm solid #bbb }
th { font-weight: 600; background: #f2f5f3 }
code, pre, .key { font-family: 'DejaVu Sans Mono', ui-monospace, monospace } pre { background: #f2f5f3; padding: 2mm 3mm; white-space: pre-wrap; overflow-wrap: anywhere; font-size: 9.5pt }
code { font-size: 9.5pt; overflow-wrap: anywhere }
.key { font-size: 13pt; letter-spacing: .04em; line-height: 1.7 } .words { columns: 3; font-size: 12pt; padding-left: 8mm } .words li { break-inside: avoid; margin: 0; padding: 1mm 0 }
.secret { border: .6mm solid #b00; border-radius: 2mm; padding: 3mm 4mm; break-inside: avoid } .qr { width: 42mm; height: 42mm; float: right; margin: 0 0 2mm 4mm }
.qr svg { width: 100%; height: 100% }
.good { color: #06743a } .bad { color: #b00020; font-weight: 600 } .note { color: #555; font-size: 9.5pt } svg text { font: 9px system-ui, sans-serif }
section { break-inside: auto } li { margin: 1mm 0 }
@media print { body { margin: 0; max-width: none; padding: 0 } h2 { break-after: avoid } }
";

/// A whole page.
pub fn page(title: &str, body: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<meta name=\"referrer\" content=\"no-referrer\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n",
        escape(title)
    )
}

/// A table. The cells of `rows` are HTML already.
pub fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let mut out = String::from("<table><thead><tr>");
    head.iter()
        .for_each(|cell| write!(out, "<th scope=\"col\">{}</th>", escape(cell)).expect("strings grow"));
    out.push_str("</tr></thead><tbody>");
    for row in rows {
        out.push_str("<tr>");
        row.iter().for_each(|cell| write!(out, "<td>{cell}</td>").expect("strings grow"));
        out.push_str("</tr>");
    }
    out.push_str("</tbody></table>");
    out
}

/// A bar of a chart.
pub struct Bar {
    /// What stands below it.
    pub label: String,
    /// How high it is.
    pub value: f64,
    /// Whether it is what it should be.
    pub good: bool,
}

/// A bar chart as SVG, with a line at the goal where there is one.
pub fn chart(title: &str, unit: &str, bars: &[Bar], goal: Option<f64>) -> String {
    const HEIGHT: f64 = 120.0;
    let top = bars.iter().map(|b| b.value).chain(goal).fold(0.0, f64::max).max(1e-9) * 1.15;
    let width = (bars.len().max(4) * 46 + 50) as f64;
    let y = |value: f64| 10.0 + HEIGHT * (1.0 - value / top);
    let mut out = format!(
        "<svg viewBox=\"0 0 {width} 170\" role=\"img\" aria-label=\"{}\" style=\"max-width:{width}px;width:100%\">",
        escape(title)
    );
    for (i, bar) in bars.iter().enumerate() {
        let x = 40.0 + i as f64 * 46.0;
        let (at, color) = (y(bar.value), if bar.good { "#0b8a4b" } else { "#b00020" });
        write!(
            out,
            "<rect x=\"{x}\" y=\"{at:.1}\" width=\"34\" height=\"{:.1}\" fill=\"{color}\"/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"middle\">{:.1} {}</text>\
             <text x=\"{}\" y=\"146\" text-anchor=\"middle\">{}</text>",
            (10.0 + HEIGHT - at).max(0.5),
            x + 17.0,
            at - 3.0,
            bar.value,
            escape(unit),
            x + 17.0,
            escape(&bar.label)
        )
        .expect("strings grow");
    }
    if let Some(goal) = goal {
        let at = y(goal);
        write!(
            out,
            "<line x1=\"34\" x2=\"{width}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#555\" stroke-dasharray=\"4 3\"/>\
             <text x=\"2\" y=\"{:.1}\">goal {goal:.0} {}</text>",
            at - 2.0,
            escape(unit)
        )
        .expect("strings grow");
    }
    write!(out, "<line x1=\"34\" x2=\"{width}\" y1=\"130\" y2=\"130\" stroke=\"#111\"/></svg>")
        .expect("strings grow");
    out
}

/// SHA-256 in hex: what `sha256sum` prints.
pub fn sha256(bytes: &[u8]) -> String {
    format::id::hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes).as_ref())
}

/// A QR code as SVG.
pub fn qr(text: &str) -> String {
    use qrcode::render::svg;
    use qrcode::{EcLevel, QrCode};
    let code = QrCode::with_error_correction_level(text.as_bytes(), EcLevel::M);
    let code = code.expect("a few hundred characters fit into a QR code");
    let image = code.render::<svg::Color<'_>>().quiet_zone(true).min_dimensions(160, 160).build();
    // The XML declaration has no place inside a page.
    image.find("<svg").map(|at| image[at..].to_string()).unwrap_or(image)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_outside_becomes_markup() {
        let nasty = "<script>alert('x')</script>\u{1b}[31m\"&";
        let page = page(nasty, &table(&[nasty], &[vec![escape(nasty)]]));
        assert!(!page.contains("<script>") && !page.contains('\u{1b}'));
        assert!(
            !chart(nasty, nasty, &[Bar { label: nasty.into(), value: 1.0, good: true }], Some(2.0))
                .contains("<script>")
        );
    }

    #[test]
    fn a_qr_code_is_one_svg_without_a_declaration() {
        let svg = qr("JT9K-0000");
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>"), "{}", &svg[..60]);
    }

    #[test]
    fn a_chart_without_bars_is_still_one() {
        assert!(chart("none", "s", &[], None).ends_with("</svg>"));
    }
}
