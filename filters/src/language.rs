//! Which language and which media type a client would rather have (RFC 9110 section 12.5).

use config::Language;

/// A language the table of refusals speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tongue {
    /// English.
    En,
    /// Chinese.
    Zh,
}

impl Tongue {
    /// By the policy, and where the policy leaves it to the client, by `Accept-Language`: Chinese when a `zh` range
    /// weighs more than every `en` range, or as much and is written first; English otherwise.
    pub fn choose(policy: Language, accept_language: Option<&str>) -> Self {
        match policy {
            Language::En => Tongue::En,
            Language::Zh => Tongue::Zh,
            Language::Auto => accept_language.map_or(Tongue::En, Self::preferred),
        }
    }

    /// What `Content-Language` and the `lang` of a page say.
    pub fn tag(self) -> &'static str {
        match self {
            Tongue::En => "en",
            Tongue::Zh => "zh",
        }
    }

    fn preferred(accept_language: &str) -> Self {
        let (mut en, mut zh) = (Weight::NONE, Weight::NONE);
        for (position, (range, quality)) in ranges(accept_language).enumerate() {
            match primary(range) {
                "zh" => zh.raise(quality, position),
                "en" => en.raise(quality, position),
                _ => {}
            }
        }
        if zh.outweighs(en) { Tongue::Zh } else { Tongue::En }
    }
}

/// Whether `Accept` asks for a page rather than for JSON: it names `text/html` (or XHTML; a mere `*/*` does not),
/// and names no JSON that weighs more, or as much and comes first.
pub fn wants_page(accept: &str) -> bool {
    let (mut page, mut json) = (Weight::NONE, Weight::NONE);
    for (position, (range, quality)) in ranges(accept).enumerate() {
        let range = range.trim();
        if ["text/html", "application/xhtml+xml"].iter().any(|name| range.eq_ignore_ascii_case(name)) {
            page.raise(quality, position);
        } else if is_json(range) {
            json.raise(quality, position);
        }
    }
    page.quality > 0 && !json.outweighs(page)
}

/// The best place something has in a list of preferences.
#[derive(Clone, Copy)]
struct Weight {
    /// Thousandths; 0 when it is not wanted.
    quality: u16,
    position: usize,
}

impl Weight {
    const NONE: Weight = Weight { quality: 0, position: usize::MAX };

    fn raise(&mut self, quality: u16, position: usize) {
        if quality > self.quality {
            *self = Weight { quality, position };
        }
    }

    fn outweighs(self, other: Weight) -> bool {
        self.quality > 0 && (self.quality, other.position) > (other.quality, self.position)
    }
}

/// The elements of a preference list with their quality in thousandths. An unreadable `q` counts as 0: what cannot
/// be understood is not preferred.
fn ranges(list: &str) -> impl Iterator<Item = (&str, u16)> {
    list.split(',').take(64).map(|element| {
        let mut parts = element.split(';');
        let range = parts.next().unwrap_or_default().trim();
        let quality = parts
            .filter_map(|parameter| parameter.split_once('='))
            .find(|(name, _)| name.trim().eq_ignore_ascii_case("q"))
            .map_or(1000, |(_, value)| thousandths(value.trim()));
        (range, quality)
    })
}

fn thousandths(text: &str) -> u16 {
    match text.parse::<f32>() {
        Ok(value) if (0.0..=1.0).contains(&value) => (value * 1000.0).round() as u16,
        _ => 0,
    }
}

/// The primary subtag, in lower case when it is one of ours.
fn primary(range: &str) -> &'static str {
    let subtag = range.split(['-', '_']).next().unwrap_or_default();
    ["zh", "en"].into_iter().find(|known| subtag.eq_ignore_ascii_case(known)).unwrap_or_default()
}

fn is_json(range: &str) -> bool {
    let Some((kind, subtype)) = range.split_once('/') else { return false };
    let json = subtype.eq_ignore_ascii_case("json")
        || subtype
            .get(subtype.len().saturating_sub(5)..)
            .is_some_and(|end| end.eq_ignore_ascii_case("+json"));
    json && kind.eq_ignore_ascii_case("application")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn auto(accept_language: &str) -> Tongue {
        Tongue::choose(Language::Auto, Some(accept_language))
    }

    #[test]
    fn speaks_chinese_to_who_prefers_it() {
        for list in
            ["zh", "zh-CN,zh;q=0.9,en;q=0.8", "ZH-Hant-TW", "fr, zh;q=0.3", "en;q=0.5, zh;q=0.6", "zh, en"]
        {
            assert_eq!(auto(list), Tongue::Zh, "{list}");
        }
    }

    #[test]
    fn speaks_english_to_everybody_else() {
        for list in
            ["", "*", "en", "fr-FR", "en, zh", "zh;q=0", "en;q=0.8,zh;q=0.7", "zh;q=x", "zhx", "zh;q=7"]
        {
            assert_eq!(auto(list), Tongue::En, "{list}");
        }
        assert_eq!(Tongue::choose(Language::Auto, None), Tongue::En);
    }

    #[test]
    fn the_policy_outranks_the_client() {
        assert_eq!(Tongue::choose(Language::En, Some("zh")), Tongue::En);
        assert_eq!(Tongue::choose(Language::Zh, Some("en")), Tongue::Zh);
    }

    #[test]
    fn gives_a_page_to_a_browser_that_navigates() {
        let chrome = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8";
        for accept in
            [chrome, "text/html", "TEXT/HTML;q=0.5, application/json;q=0.4", "text/html, application/json"]
        {
            assert!(wants_page(accept), "{accept}");
        }
    }

    #[test]
    fn gives_json_to_a_program() {
        for accept in [
            "*/*",
            "application/json",
            "application/json, text/plain, */*",
            "text/html;q=0",
            "text/html;q=0.5, application/problem+json",
            "application/json, text/html",
            "",
        ] {
            assert!(!wants_page(accept), "{accept}");
        }
    }
}
