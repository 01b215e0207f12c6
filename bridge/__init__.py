"""Agent Bridge: an agent in Slack, behind signed webhooks and behind an email address."""
