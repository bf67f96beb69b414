//! Bodies of the DPS dialect, sent to the whole server and compared with an untyped reading of the same JSON.

use keyproof_x509::Upload;
use serde_json::Value;

use crate::site::{Answer, Site, field, with_site};

const CERTIFICATES: &str = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Devices/provisioningServices/d/certificates";

const VERSION: &str = "api-version=2022-12-12";

/// A CA certificate that awaits its proof of possession. Its private key was deleted.
const WAITING: &str = include_str!("../vectors/ca.json");

/// Byte 0 selects the request: `p` is a certificate's PUT, `v` a verification. The rest is the body. An accepted PUT returns the
/// certificate that was sent, unverified whatever the body says. No verification succeeds.
pub fn body(data: &[u8]) {
    let Some((operation, body)) = data.split_first() else {
        return;
    };
    with_site(|site| match operation {
        b'p' => put(site, body),
        b'v' => verify(site, body),
        _ => {}
    });
}

fn call(site: &mut Site, method: &str, rest: &str, more: &str, body: &[u8]) -> Answer {
    let token = site.dps.clone();
    let request = format!("{method} {CERTIFICATES}{rest}?{VERSION}");
    let fields = format!("Content-Type: application/json\r\n{more}");
    site.call(&request, &token, &fields, body)
}

/// Adds what every new server starts with.
pub(crate) fn prepare(site: &mut Site) {
    let put = call(site, "PUT", "/waiting", "", WAITING.as_bytes());
    assert_eq!(put.status, 200, "{put:?}");
    new_code(site);
}

fn new_code(site: &mut Site) {
    let rest = "/waiting/generateVerificationCode";
    let code = call(site, "POST", rest, "If-Match: *\r\n", b"");
    assert_eq!(code.status, 200, "{code:?}");
}

fn put(site: &mut Site, body: &[u8]) {
    let answer = call(site, "PUT", "/new", "", body);
    if answer.status != 200 {
        return assert_refused(&answer);
    }
    let json = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let sent: Value = serde_json::from_slice(json).expect("what is taken is JSON");
    let properties = match &sent["properties"] {
        Value::Null => &sent,
        nested => nested,
    };
    let text = properties["certificate"].as_str().expect("a certificate");
    let upload = Upload::decode(text.as_bytes()).expect("what is taken is an upload");
    let certificate = upload
        .certificate()
        .expect("what is taken is a certificate");
    let shown = &answer.json["properties"];
    let thumbprint = certificate.sha1_thumbprint().to_string();
    assert_eq!(shown["thumbprint"], thumbprint.as_str());
    assert_eq!(shown["isVerified"], false);

    let tag = answer.json["etag"].as_str().expect("an etag");
    let tag = format!("If-Match: {tag}\r\n");
    let removed = call(site, "DELETE", "/new", &tag, b"");
    assert!([200, 204].contains(&removed.status), "{removed:?}");
}

fn verify(site: &mut Site, body: &[u8]) {
    let answer = call(site, "POST", "/waiting/verify", "If-Match: *\r\n", body);
    assert_refused(&answer);
    let shown = call(site, "GET", "/waiting", "", b"");
    assert_eq!(shown.json["properties"]["isVerified"], false);
}

/// Asserts that the answer is a refusal, in one of the service's two shapes.
fn assert_refused(answer: &Answer) {
    assert!(answer.status >= 400, "{answer:?}");
    assert!(
        field(&answer.head, "content-type")
            .is_some_and(|kind| kind.starts_with("application/json"))
    );
    let message = answer.json.get("message");
    let message = message.or_else(|| answer.json.pointer("/error/message"));
    assert!(message.is_some_and(Value::is_string), "{answer:?}");
}
