//! Files that pages refer to: the stylesheet, the script and the icon, at addresses that change with them.

use std::sync::LazyLock;

use bytes::Bytes;
use http::{HeaderValue, header};
use http_body_util::Full;
use keyproof_http::Response;
use ring::digest::{SHA256, digest};

/// A file of the sites.
#[derive(Clone, Copy, Debug)]
pub(super) enum Asset {
    /// `icon.svg`.
    Icon,
    /// `script.js`.
    Script,
    /// `style.css`.
    Style,
}

/// Identifies this release's assets in their addresses, so that a cache never serves another release's.
pub(super) static RELEASE: LazyLock<String> = LazyLock::new(|| {
    let all = [Asset::Icon, Asset::Script, Asset::Style].map(Asset::text);
    let digest = digest(&SHA256, all.concat().as_bytes());
    let short = digest.as_ref().get(..6).unwrap_or_default();
    data_encoding::HEXLOWER.encode(short)
});

impl Asset {
    const fn text(self) -> &'static str {
        match self {
            Self::Icon => include_str!("assets/icon.svg"),
            Self::Script => include_str!("assets/script.js"),
            Self::Style => include_str!("assets/style.css"),
        }
    }

    const fn content_type(self) -> &'static str {
        match self {
            Self::Icon => "image/svg+xml",
            Self::Script => "text/javascript; charset=utf-8",
            Self::Style => "text/css; charset=utf-8",
        }
    }

    /// Returns the file. At this release's address it may be cached for ever.
    pub(super) fn answer(self, release: Option<&str>) -> Response {
        let mut response = Response::new(Full::from(Bytes::from_static(self.text().as_bytes())));
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static(self.content_type()),
        );
        let kept = if release == Some(RELEASE.as_str()) {
            "public, max-age=31536000, immutable"
        } else {
            "no-cache"
        };
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(kept));
        response
    }
}
