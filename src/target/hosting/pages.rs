//! Lists that come in pages: gone through until enough was seen, and not for ever.

use super::api::{Refusal, Said};
use crate::rotation::FaultCode;

/// The most pages of one list that are asked for: no rotation takes as long as it takes to fill them.
const MOST: usize = 50;

/// All items of a list up to the page that is `enough`. A page is asked for by what the one before says of it,
/// the first one by nothing; the last one says nothing.
///
/// # Errors
///
/// What asking for a page refuses; and a list that goes on for longer than anybody looks.
pub(super) async fn pages<T, N, F>(
    of: &str,
    enough: impl Fn(&[T]) -> bool,
    ask: impl Fn(Option<N>) -> F,
) -> Said<Vec<T>>
where
    F: Future<Output = Said<(Vec<T>, Option<N>)>>,
{
    let (mut items, mut next) = (Vec::new(), None);
    for _ in 0..MOST {
        let (page, following) = ask(next).await?;
        let is_enough = enough(&page);
        items.extend(page);
        if following.is_none() || is_enough {
            return Ok(items);
        }
        next = following;
    }
    let text = format!("{of} lists more than {} items, and shows no end", items.len());
    Err(Refusal::obstacle(FaultCode::PlatformRefused, text, "remove those that are not used"))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn three(page: Option<usize>) -> Said<(Vec<usize>, Option<usize>)> {
        let page = page.unwrap_or(0);
        Ok((vec![page * 2, page * 2 + 1], (page < 2).then_some(page + 1)))
    }

    async fn endless(page: Option<usize>) -> Said<(Vec<usize>, Option<usize>)> {
        Ok((vec![0], Some(page.unwrap_or(0) + 1)))
    }

    #[tokio::test]
    async fn pages_are_asked_for_until_there_is_enough_or_no_more() {
        assert_eq!(pages("it", |_| false, three).await.unwrap(), [0, 1, 2, 3, 4, 5]);
        assert_eq!(pages("it", |items| items.contains(&2), three).await.unwrap(), [0, 1, 2, 3]);
        let refusal = pages("it", |_| false, endless).await.unwrap_err();
        assert_eq!(refusal.text, "it lists more than 50 items, and shows no end");
    }
}
