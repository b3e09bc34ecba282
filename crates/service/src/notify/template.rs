//! What a webhook says.
//!
//! A template of one's own is a text with `{{title}}`, `{{text}}`, `{{fix}}`, `{{kind}}`, `{{subject}}`,
//! `{{machine}}`, `{{time}}` (escaped to stand inside the quotes of a JSON string) and `{{event}}` (the
//! whole event as JSON).

use super::http::head;
use super::{Message, NotifyError};
use serde_json::{Value, json};

/// What a webhook says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Template {
    /// The event as JSON.
    Generic,
    /// For Slack, Mattermost, Rocket.Chat.
    Slack,
    /// For Discord.
    Discord,
    /// The text of a template.
    Custom(String),
}

/// Discord refuses more letters than this.
const DISCORD_LETTERS: usize = 1900;
/// Slack cuts longer texts.
const SLACK_BYTES: usize = 38_000;

impl Template {
    /// The body for a message.
    pub(super) fn fill(&self, message: &Message) -> Result<String, NotifyError> {
        let whole = format!("{}\n{}", message.title, message.plain());
        Ok(match self {
            Template::Generic => message.event().to_string(),
            // Slack reads <!channel> and links; a file's name must not call everybody.
            Template::Slack => {
                let text = whole.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
                json!({ "text": head(&text, SLACK_BYTES) }).to_string()
            }
            Template::Discord => {
                let text: String = whole.chars().take(DISCORD_LETTERS).collect();
                json!({ "content": text, "allowed_mentions": { "parse": [] } }).to_string()
            }
            Template::Custom(template) => return filled(template, message),
        })
    }
}

fn filled(template: &str, message: &Message) -> Result<String, NotifyError> {
    let event = message.event();
    let (mut out, mut rest) = (String::new(), template);
    while let Some((before, after)) = rest.split_once("{{") {
        let (name, after) = after
            .split_once("}}")
            .ok_or_else(|| NotifyError::refused("the template", "a {{ is never closed"))?;
        out.push_str(before);
        match (name.trim(), &event[name.trim()]) {
            ("event", _) => out.push_str(&event.to_string()),
            ("title" | "text" | "fix" | "kind" | "subject" | "machine" | "time", Value::String(text)) => {
                let quoted = Value::from(text.as_str()).to_string();
                out.push_str(&quoted[1..quoted.len() - 1]);
            }
            (other, _) => {
                let why = format!(
                    "there is no {{{{{other}}}}}; there are title, text, fix, kind, subject, machine, time, event"
                );
                return Err(NotifyError::refused("the template", why));
            }
        }
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_filled_and_quotes_stay_inside() {
        let mut message = Message::test("atlas", 0);
        message.title = "a \"b\" \\ c".into();
        let body = filled("{\"t\": \"{{ title }}\", \"e\": {{event}}}", &message).unwrap();
        let value: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((value["t"].as_str(), value["e"]["kind"].as_str()), (Some("a \"b\" \\ c"), Some("test")));
        assert!(filled("{{password}}", &message).is_err());
        assert!(filled("{{title", &message).is_err());
    }

    #[test]
    fn nobody_is_called_by_a_name() {
        let mut message = Message::test("atlas", 0);
        message.title = "<!channel> @everyone".into();
        assert!(!Template::Slack.fill(&message).unwrap().contains("<!"));
        let discord: Value = serde_json::from_str(&Template::Discord.fill(&message).unwrap()).unwrap();
        assert_eq!(discord["allowed_mentions"]["parse"], json!([]));
    }
}
