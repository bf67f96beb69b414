//! QR codes in a terminal.

use qrcode::{EcLevel, QrCode, render::unicode::Dense1x2, types::QrError};

/// Draws a text as a QR code, two modules a character, in the quiet zone that ISO/IEC 18004 asks for.
pub(crate) fn draw(text: &str) -> Result<String, QrError> {
    let code = QrCode::with_error_correction_level(text, EcLevel::L)?;
    // Terminals are dark where nothing is written.
    let mut renderer = code.render();
    let renderer = renderer
        .dark_color(Dense1x2::Light)
        .light_color(Dense1x2::Dark);
    Ok(renderer.build())
}

#[cfg(test)]
mod tests {
    use qrcode::Color;

    use super::*;

    /// The modules of a drawing, as a camera sees it on a dark terminal.
    fn modules(drawing: &str) -> Vec<Vec<Color>> {
        let mut rows = Vec::new();
        for line in drawing.lines() {
            let halves = line.chars().map(|character| match character {
                ' ' => [Color::Dark, Color::Dark],
                '▀' => [Color::Light, Color::Dark],
                '▄' => [Color::Dark, Color::Light],
                '█' => [Color::Light, Color::Light],
                other => panic!("{other:?}"),
            });
            let halves: Vec<_> = halves.collect();
            for half in 0..2 {
                rows.push(halves.iter().map(|halves| halves[half]).collect());
            }
        }
        rows
    }

    #[test]
    fn a_drawing_is_the_code_in_its_quiet_zone() {
        const QUIET: usize = 4;
        let text = "otpauth://totp/Demo:ada@example.org?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
        let code = QrCode::with_error_correction_level(text, EcLevel::L).unwrap();
        let drawn = modules(&draw(text).unwrap());
        let width = code.width() + 2 * QUIET;
        assert!(drawn.len() >= width && drawn.iter().all(|row| row.len() == width));
        for (y, row) in drawn.iter().take(width).enumerate() {
            for (x, module) in row.iter().enumerate() {
                let inside = QUIET..QUIET + code.width();
                let expected = if inside.contains(&x) && inside.contains(&y) {
                    code[(x - QUIET, y - QUIET)]
                } else {
                    Color::Light
                };
                assert_eq!(*module, expected, "({x}, {y})");
            }
        }
    }

    #[test]
    fn a_text_may_be_too_long() {
        assert_eq!(draw(&"x".repeat(3000)), Err(QrError::DataTooLong));
    }
}
