//! Forms with a file, as browsers send them.

use keyproof::sites::{FormError, Multipart, Part};
use tokio::runtime::{Builder, Runtime};

const TYPE: &str = "multipart/form-data; boundary=----WebKitFormBoundary7MA4";

const DELIMITER: &str = "------WebKitFormBoundary7MA4";

/// The page's parts.
const PARTS: [Part; 2] = [Part::Line("name"), Part::Upload("file", LONGEST_FILE)];
/// In bytes.
const LONGEST_FILE: usize = 64 * 1024;
/// In units of UTF-16.
const LONGEST_LINE: usize = 1024;

/// The data as a form's body: the result is within its limits, and is the same after a browser has written it again.
pub fn multipart(data: &[u8]) {
    let Ok(form) = parse(data) else {
        return;
    };
    let (name, file) = (form.text("name"), form.bytes("file"));
    let is_odd = |c: char| c.is_control() && c != '\t';
    assert!(name.encode_utf16().count() <= LONGEST_LINE && !name.contains(is_odd));
    assert_eq!(name.as_bytes(), form.bytes("name"));
    assert!(file.len() <= LONGEST_FILE);
    assert_eq!(form.bytes("other"), b"");

    let fields = ["csrf", "name", "file"].map(|field| (field, form.bytes(field)));
    let again = parse(&written(&fields)).expect("what was read can be written");
    for (field, value) in fields {
        assert_eq!(again.bytes(field), value, "{field}");
    }
    let twice = written(&[fields[1], fields[1]]);
    assert_eq!(parse(&twice).err(), Some(FormError::Fields));
}

fn written(fields: &[(&str, &[u8])]) -> Vec<u8> {
    let part = |(field, value): &(&str, &[u8])| {
        let head =
            format!("{DELIMITER}\r\nContent-Disposition: form-data; name=\"{field}\"\r\n\r\n");
        [head.as_bytes(), value, b"\r\n"].concat()
    };
    let mut body: Vec<u8> = fields.iter().flat_map(part).collect();
    body.extend(format!("{DELIMITER}--\r\n").into_bytes());
    body
}

fn parse(body: &[u8]) -> Result<Multipart, FormError> {
    thread_local! {
        static RUNTIME: Runtime = Builder::new_current_thread().build().expect("a runtime");
    }
    let body = body.to_vec().into();
    RUNTIME.with(|runtime| runtime.block_on(Multipart::parse(Some(TYPE), body, &PARTS)))
}
