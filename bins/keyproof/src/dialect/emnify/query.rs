//! The query for a list of users, and the paging headers.

use form_urlencoded::Serializer;
use http::{HeaderName, HeaderValue, header};
use keyproof_http::{Query, Response};
use keyproof_service::accounts::{Filter, Sort, SortKey, UserQuery, UserStatus};

use super::{errors::Refusal, path::integral};

/// The default number of users per page.
const PER_PAGE: usize = 100;

/// The most users per page.
const MAX_PER_PAGE: usize = 1000;

pub(super) fn users(query: &Query) -> Result<UserQuery, Refusal> {
    let number = |name: &'static str, default: usize| match query.first(name) {
        None | Some("") => Ok(default),
        Some(text) => {
            let number = integral(text).and_then(|number| usize::try_from(number).ok());
            let number = number.filter(|number| *number >= 1);
            number.ok_or_else(|| Refusal::query_criteria(name))
        }
    };
    let per_page = number("per_page", PER_PAGE)?;
    if per_page > MAX_PER_PAGE {
        let parameter = format!("per_page, which is at most {MAX_PER_PAGE}");
        return Err(Refusal::query_criteria(&parameter));
    }
    let filters =
        list(query.first("q")).map(|text| filter(text).ok_or_else(|| Refusal::query_criteria("q")));
    let sort = list(query.first("sort")).map(|text| sort(text).ok_or_else(Refusal::sort_criteria));
    let query = UserQuery::new(
        filters.collect::<Result<_, _>>()?,
        sort.collect::<Result<_, _>>()?,
        number("page", 1)?,
        per_page,
    );
    Ok(query?)
}

fn list(text: Option<&str>) -> impl Iterator<Item = &str> {
    text.into_iter()
        .flat_map(|text| text.split(','))
        .filter(|item| !item.is_empty())
}

fn filter(text: &str) -> Option<Filter> {
    let (field, value) = text.split_once(':')?;
    Some(match field {
        "id" => Filter::Id(number(value)?),
        "name" | "username" if !value.is_empty() => {
            Filter::Name(value.trim_matches('*').to_owned())
        }
        "organisation" => Filter::Organisation(number(value)?),
        "status" => Filter::Status(match number(value)? {
            1 => Some(UserStatus::Active),
            2 => Some(UserStatus::Suspended),
            _ => None,
        }),
        _ => return None,
    })
}

fn number(text: &str) -> Option<u32> {
    u32::try_from(integral(text)?).ok()
}

fn sort(text: &str) -> Option<Sort> {
    let (descending, field) = match text.strip_prefix('-') {
        Some(field) => (true, field),
        None => (false, text),
    };
    let key = match field {
        "created" => SortKey::Created,
        "id" => SortKey::Id,
        "name" | "username" => SortKey::Name,
        "organisation" => SortKey::Organisation,
        "status" => SortKey::Status,
        _ => return None,
    };
    Some(Sort { key, descending })
}

/// Adds the contract's paging headers.
pub(super) fn add_paging_headers(
    response: &mut Response,
    query: &Query,
    asked: &UserQuery,
    total: usize,
) {
    let pages = total.div_ceil(asked.per_page()).max(1);
    let mut fields = vec![
        ("x-total-count", total.to_string()),
        ("x-total-pages", pages.to_string()),
        ("x-current-page", asked.page().to_string()),
        ("x-count-per-page", asked.per_page().to_string()),
    ];
    let (filter, sort) = (query.first("q"), query.first("sort"));
    let given = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(ToOwned::to_owned);
    fields.extend(given(filter).map(|text| ("x-filter", text)));
    fields.extend(given(sort).map(|text| ("x-sort", text)));
    let link = |page: usize, relation: &str| {
        let mut parameters = Serializer::new(String::new());
        parameters
            .append_pair("page", &page.to_string())
            .append_pair("per_page", &asked.per_page().to_string());
        for (name, value) in [("q", filter), ("sort", sort)] {
            if let Some(value) = given(value) {
                parameters.append_pair(name, &value);
            }
        }
        format!("</api/v1/user?{}>; rel=\"{relation}\"", parameters.finish())
    };
    // The last page that is served; `pages` may be beyond it.
    let last = pages.min(UserQuery::last_page(asked.per_page()));
    let mut links = vec![link(1, "first"), link(last, "last")];
    if asked.page() > 1 {
        links.push(link((asked.page() - 1).min(last), "prev"));
    }
    if asked.page() < last {
        links.push(link(asked.page() + 1, "next"));
    }
    let headers = response.headers_mut();
    for (name, value) in fields {
        // A filter that is not a valid header value is left out.
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    if let Ok(value) = HeaderValue::try_from(links.join(", ")) {
        headers.insert(header::LINK, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_to_no_page_that_is_refused() {
        let link = |page: usize, relation: &str| {
            format!("</api/v1/user?page={page}&per_page=999>; rel=\"{relation}\"")
        };
        for (page, total, expected) in [
            (
                9,
                20_000,
                vec![(1, "first"), (10, "last"), (8, "prev"), (10, "next")],
            ),
            (10, 20_000, vec![(1, "first"), (10, "last"), (9, "prev")]),
            (10, 9_991, vec![(1, "first"), (10, "last"), (9, "prev")]),
            (
                8,
                8_000,
                vec![(1, "first"), (9, "last"), (7, "prev"), (9, "next")],
            ),
        ] {
            let query = Query::parse(&format!("page={page}&per_page=999"));
            let asked = users(&query).unwrap();
            let mut response = Response::default();
            add_paging_headers(&mut response, &query, &asked, total);
            let expected: Vec<_> = expected.iter().map(|&(page, of)| link(page, of)).collect();
            let links = response.headers()[header::LINK].to_str().unwrap();
            assert_eq!(links, expected.join(", "));
            let pages = response.headers()["x-total-pages"].to_str().unwrap();
            assert_eq!(pages, total.div_ceil(999).to_string());
        }
        assert!(users(&Query::parse("page=11&per_page=999")).is_err());
    }
}
