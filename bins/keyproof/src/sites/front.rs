//! `GET /` from a browser: a page with links to the sites. For other clients there is nothing at `/`.

use std::{net::SocketAddr, sync::Arc};

use askama::Template;
use http::{HeaderValue, Method, StatusCode, header};
use keyproof_http::{
    Application, BoxFuture, Exchange, RequestId, RequestPath, Response, StackRefusal, plain_refusal,
};

use super::{
    SiteName,
    asset::{Asset, RELEASE},
    language::{Language, Reader, weight_of},
    page,
};

/// The request headers that the response depends on, including whether it is the page at all.
const VARY: &str = "Accept, Accept-Language, Cookie";

/// The application for the path `/` only.
pub struct Front {
    sites: Vec<Place>,
    /// The application that shapes refusals.
    unclaimed: Option<Arc<dyn Application>>,
}

/// The location of a site.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// The site.
    pub site: SiteName,
    /// The port of its own listener, if it is not on this one.
    pub port: Option<u16>,
}

impl Place {
    /// Returns the location of a site that listens at `there`, for a page at `here`; `None` if no link can lead to it.
    pub(crate) fn seen_from(
        here: SocketAddr,
        site: SiteName,
        there: SocketAddr,
        is_here: bool,
    ) -> Option<Self> {
        if is_here {
            return Some(Self { site, port: None });
        }
        // Others cannot reach it, and should not learn that it exists.
        let is_out_of_reach = there.ip().is_loopback() && !here.ip().is_loopback();
        // The port that 0 results in is not known yet.
        let has_no_port = there.port() == 0 || there.port() == here.port();
        if is_out_of_reach || has_no_port {
            return None;
        }
        let port = Some(there.port());
        Some(Self { site, port })
    }

    /// Returns its address, with the host name of the request.
    fn link(self, host: &str) -> String {
        let path = self.site.as_str();
        match self.port {
            None => format!("/{path}"),
            Some(port) => {
                let end = host
                    .rfind(':')
                    .filter(|at| !host.get(*at..).is_some_and(|port| port.contains(']')));
                let name = host.get(..end.unwrap_or(host.len())).unwrap_or_default();
                format!("//{name}:{port}/{path}")
            }
        }
    }
}

#[derive(Template)]
#[template(path = "front.html")]
struct Page {
    tag: &'static str,
    is_german: bool,
    release: &'static str,
    /// Tag, name, and whether it is the current one.
    languages: [(&'static str, &'static str, bool); 2],
    account: Option<String>,
    console: Option<String>,
}

impl Front {
    /// Creates the page for a listener with these sites.
    pub fn new(sites: Vec<Place>, unclaimed: Option<Arc<dyn Application>>) -> Self {
        Self { sites, unclaimed }
    }

    fn page(&self, exchange: &Exchange) -> Option<Response> {
        let host = exchange.header(&header::HOST).unwrap_or_default();
        let link = |site| {
            let mut places = self.sites.iter();
            let place = places.find(|place| place.site == site);
            place.map(|place| place.link(host))
        };
        let reader = Reader::of(exchange);
        let language = reader.language;
        let page = Page {
            tag: language.tag(),
            is_german: language == Language::German,
            release: RELEASE.as_str(),
            languages: language.offered(),
            account: link(SiteName::Account),
            console: link(SiteName::Console),
        };
        let mut response = page::stamp(page::html(StatusCode::OK, page.render().ok()?));
        reader.keep(&mut response);
        let headers = response.headers_mut();
        headers.insert(header::VARY, HeaderValue::from_static(VARY));
        Some(response)
    }
}

/// Whether the request accepts HTML, as browsers do.
fn wants_html(exchange: &Exchange) -> bool {
    let lines = exchange.headers().get_all(header::ACCEPT).iter();
    let mut ranges = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','));
    ranges.any(|range| {
        let mut parts = range.split(';');
        let kind = parts.next().unwrap_or_default().trim();
        // A weight of 0 means that it is not accepted (RFC 9110, section 12.4.2).
        kind.eq_ignore_ascii_case("text/html") && !parts.any(|part| weight_of(part) == Some(0))
    })
}

impl Application for Front {
    fn name(&self) -> &'static str {
        "front"
    }

    fn claims(&self, path: &RequestPath) -> bool {
        let segments = path.lossy_segments();
        segments == [""] || matches!(&*segments, ["front", file] if asset(file).is_some())
    }

    fn handle(self: Arc<Self>, exchange: Exchange) -> BoxFuture<Response> {
        Box::pin(async move {
            let reads = matches!(*exchange.method(), Method::GET | Method::HEAD);
            let segments = exchange.path().lossy_segments();
            if reads
                && let ["front", file] = &*segments
                && let Some(asset) = asset(file)
            {
                exchange.matched("/front/{file}");
                return page::stamp(asset.answer(exchange.query().first("v")));
            }
            if reads
                && segments == [""]
                && wants_html(&exchange)
                && let Some(page) = self.page(&exchange)
            {
                exchange.matched("/");
                return page;
            }
            self.refuse(StackRefusal::NotFound, exchange.request_id())
        })
    }

    fn refuse(&self, refusal: StackRefusal, request_id: RequestId) -> Response {
        match &self.unclaimed {
            Some(application) => application.refuse(refusal, request_id),
            None => plain_refusal(refusal, request_id),
        }
    }
}

fn asset(file: &str) -> Option<Asset> {
    match file {
        "icon.svg" => Some(Asset::Icon),
        "style.css" => Some(Asset::Style),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_on_a_listener_of_its_own_is_at_its_port() {
        let (site, port) = (SiteName::Account, Some(8443));
        let link = |host: &str| Place { site, port }.link(host);
        assert_eq!(link("k.example"), "//k.example:8443/account");
        assert_eq!(link("k.example:1"), "//k.example:8443/account");
        assert_eq!(link("[::1]:1"), "//[::1]:8443/account");
        assert_eq!(link("[::1]"), "//[::1]:8443/account");
        assert_eq!(Place { site, port: None }.link("x"), "/account");
    }

    #[test]
    fn a_site_that_only_this_machine_reaches_is_told_to_nobody_else() {
        for (here, there, port) in [
            ("0.0.0.0:443", "127.0.0.1:9000", None),
            ("[::]:443", "[::1]:9000", None),
            ("127.0.0.1:80", "127.0.0.1:9000", Some(9000)),
            ("127.0.0.1:80", "0.0.0.0:9000", Some(9000)),
            ("0.0.0.0:443", "0.0.0.0:9000", Some(9000)),
            ("0.0.0.0:443", "192.0.2.1:0", None),
            ("0.0.0.0:443", "192.0.2.1:443", None),
        ] {
            let [here_at, there_at] = [here, there].map(|at| at.parse().unwrap());
            let place = Place::seen_from(here_at, SiteName::Console, there_at, false);
            assert_eq!(
                place.map(|place| place.port),
                port.map(Some),
                "{there} from {here}"
            );
        }
    }
}
