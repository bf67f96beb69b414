//! How long application tokens that have ended stay listed. Then they are deleted with their texts, which must never lead to a
//! later token with the same number.

use std::{collections::BTreeSet, convert::Infallible, time::Duration};

use keyproof_store::{Batch, Timestamp};

use super::{
    Accounts,
    application_tokens::has_ended,
    records::{
        ApplicationToken, ApplicationTokenText, Organisation, TextPlace, all_organisations,
        application_tokens_of,
    },
};
use crate::{
    Failure, StorageError,
    pages::{Page, Pages, transact_pages},
    slot::Slot,
};

/// How long a token that has ended stays listed.
const SHOWN: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The number of tokens read at once. A batch contains at most a token, its text and its creator for each of them.
const AT_ONCE: usize = 100;

/// Returns until when a token that ends then stays listed.
pub(super) fn shown_after(end: Timestamp) -> Timestamp {
    end.saturating_add(SHOWN)
}

/// Returns until when a token that ends now stays listed, if its record expires then: `expires_at` does not become later.
pub(super) fn shown_at_most(expires_at: Option<Timestamp>, now: Timestamp) -> Timestamp {
    let shown = shown_after(now);
    expires_at.map_or(shown, |end| end.min(shown))
}

impl Accounts {
    /// Writes a token that is now revoked. It stays listed for a while and then expires together with its text. If the text is
    /// unknown, both stay.
    pub(super) async fn put_revoked(
        &self,
        batch: &mut Batch,
        slot: &Slot<ApplicationToken>,
        revoked: &ApplicationToken,
        now: Timestamp,
    ) -> Result<(), StorageError> {
        let expires_at = slot.expires_at();
        let end = self.end_text(batch, revoked, expires_at, now).await?;
        slot.replace(batch, revoked, end);
        Ok(())
    }

    /// Lets the text of a token that ends now expire with the token's record, and returns when that is.
    async fn end_text(
        &self,
        batch: &mut Batch,
        token: &ApplicationToken,
        expires_at: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, StorageError> {
        let Some(place) = token.text.as_ref().and_then(TextPlace::key) else {
            return Ok(expires_at);
        };
        let end = Some(shown_at_most(expires_at, now));
        let text = self.store.get::<ApplicationTokenText>(&place, now).await?;
        if let Some(text) = text {
            batch.replace(&place, text.version, &text.record, end);
        }
        Ok(end)
    }

    /// Lets all tokens expire that have ended otherwise than by their own revocation: an operator's change to a user ends the
    /// user's tokens without writing them, and a restore writes them without an expiry. Returns how many there were.
    ///
    /// # Errors
    ///
    /// [`StorageError`]; the remaining tokens are left for the next call.
    pub(crate) async fn end_application_tokens(&self) -> Result<usize, StorageError> {
        let organisations = Pages::<Organisation>::of(&self.store, all_organisations());
        let id = |organisation: Organisation| Some(organisation.id);
        let mut ended = 0_usize;
        for organisation in organisations.collect(&*self.clock, id).await? {
            let all = application_tokens_of(organisation);
            let (name, of) = (
                "accounts.end_application_tokens",
                (&self.store, &*self.clock),
            );
            let count = transact_pages(name, of, &all, AT_ONCE, async |page| {
                self.end_page(organisation, page).await
            });
            ended = ended.saturating_add(count.await.map_err(Failure::without_refusal)?);
        }
        Ok(ended)
    }

    /// Lets the tokens of a page expire that have ended.
    async fn end_page(
        &self,
        organisation: u32,
        page: Page<ApplicationToken>,
    ) -> Result<(Batch, usize), Failure<Infallible>> {
        let Page {
            mut records, now, ..
        } = page;
        let shown = shown_after(now);
        records.retain(|(_, stored)| {
            stored.record.text.is_some() && stored.expires_at.is_none_or(|end| end > shown)
        });
        // Read last: compared with an earlier state of its creator, a token would count as ended.
        let numbers = records.iter().map(|(_, stored)| stored.record.creator);
        let numbers = numbers.collect();
        let creators = self.creators_of(organisation, numbers).await?;
        let mut batch = self.store.batch(now);
        let (mut decisive, mut ended) = (BTreeSet::new(), 0_usize);
        for (place, stored) in records {
            let token = stored.record;
            let creator = creators.get(&token.creator);
            if !token.is_revoked {
                if !has_ended(&token, creator.and_then(Slot::record)) {
                    continue;
                }
                decisive.insert(token.creator);
            }
            let revoked = ApplicationToken {
                is_revoked: true,
                ..token
            };
            let end = self.end_text(&mut batch, &revoked, stored.expires_at, now);
            let end = end.await?;
            batch.replace(&place, stored.version, &revoked, end);
            ended = ended.saturating_add(1);
        }
        for creator in decisive.iter().filter_map(|creator| creators.get(creator)) {
            // The change that ended the tokens may not be durable yet.
            creator.require_as_read(&mut batch);
        }
        Ok((batch, ended))
    }
}
