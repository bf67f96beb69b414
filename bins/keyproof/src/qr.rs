//! QR codes for terminals and pages.

use std::fmt::Write;

use qrcode::{Color, EcLevel, QrCode, render::unicode::Dense1x2, types::QrError};
use zeroize::Zeroizing;

/// The width of the quiet zone that ISO/IEC 18004 requires, in modules.
const QUIET: usize = 4;

/// A QR code as the path of an SVG picture, in modules.
pub(crate) struct Drawing {
    /// The picture's width and height, including the quiet zone.
    pub(crate) size: usize,
    /// All dark modules.
    pub(crate) path: Zeroizing<String>,
}

/// Draws a text as a QR code on a light background.
pub(crate) fn path(text: &str) -> Result<Drawing, QrError> {
    // Cameras see a screen through reflections, so it has more error correction than in a terminal.
    let code = QrCode::with_error_correction_level(text, EcLevel::M)?;
    let width = code.width();
    let mut path = Zeroizing::new(String::new());
    for (at, color) in code.to_colors().iter().enumerate() {
        if *color == Color::Dark {
            let (x, y) = (at % width + QUIET, at / width + QUIET);
            // Writing to a string cannot fail.
            let _ = write!(path, "M{x} {y}h1v1h-1z");
        }
    }
    Ok(Drawing {
        size: width + 2 * QUIET,
        path,
    })
}

/// Draws a text as a QR code with two modules per character, including the quiet zone that ISO/IEC 18004 requires.
pub(crate) fn draw(text: &str) -> Result<String, QrError> {
    let code = QrCode::with_error_correction_level(text, EcLevel::L)?;
    // Terminals are assumed to be dark.
    let mut renderer = code.render();
    let renderer = renderer
        .dark_color(Dense1x2::Light)
        .light_color(Dense1x2::Dark);
    Ok(renderer.build())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the modules of a drawing, as a camera sees it on a dark terminal.
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
    fn a_path_has_each_dark_module_once() {
        let code = QrCode::with_error_correction_level("otpauth://x", EcLevel::M).unwrap();
        let Drawing { size, path: drawn } = path("otpauth://x").unwrap();
        assert_eq!(size, code.width() + 8);
        let mut drawn: Vec<_> = drawn.split('M').skip(1).collect();
        for (at, color) in code.to_colors().into_iter().enumerate() {
            let (x, y) = (at % code.width() + 4, at / code.width() + 4);
            let module = format!("{x} {y}h1v1h-1z");
            let place = drawn.iter().position(|drawn| *drawn == module);
            assert_eq!(place.is_some(), color == Color::Dark, "{module}");
            place.map(|place| drawn.remove(place));
        }
        assert!(drawn.is_empty());
        assert!(path(&"x".repeat(3000)).is_err());
    }

    #[test]
    fn a_text_may_be_too_long() {
        assert_eq!(draw(&"x".repeat(3000)), Err(QrError::DataTooLong));
    }
}
