"""The app manifest that fits a configuration: paste it at api.slack.com/apps, New App, From a manifest."""

from typing import Any

from adapters.slack.interactions import ASK_ABOUT
from adapters.slack.settings import Settings

BOT_SCOPES = (
    "app_mentions:read", "assistant:write", "channels:history", "channels:read", "chat:write", "commands", "files:read",
    "files:write", "groups:history", "groups:read", "im:history", "im:read", "im:write", "mpim:history", "mpim:read",
    "reactions:read", "users:read", "users:read.email",
)  # fmt: skip
"""What the bot asks for, each used by something it does."""

BOT_EVENTS = (
    "agent_session_stopped", "app_mention", "app_uninstalled", "message.channels", "message.groups", "message.im",
    "message.mpim", "reaction_added", "tokens_revoked",
)  # fmt: skip


def manifest(settings: Settings, public_url: str, *, command: str = "/agent") -> dict[str, Any]:
    """The manifest for HTTP, or for Socket Mode where there is an `app_token`. `public_url` is the source's own."""
    socket = settings.app_token is not None
    prompts = [{"title": text[:75], "message": text} for text in settings.suggested_prompts]
    where = {} if socket else {"request_url": public_url}
    slash = {
        "command": f"/{command.lstrip('/')}",
        "description": f"Ask {settings.name}",
        "usage_hint": "what you want",
        "should_escape": True,
    }
    oauth: dict[str, Any] = {"scopes": {"bot": list(BOT_SCOPES)}}
    if settings.client_id is not None:
        oauth["redirect_urls"] = [f"{public_url}/oauth_redirect"]
    return {
        "_metadata": {"major_version": 2, "minor_version": 1},
        "display_information": {
            "name": settings.name[:35],  # Slack takes no longer one
            "description": "Answers in channels, threads and direct messages",
        },
        "features": {
            "agent_view": {
                "agent_description": f"{settings.name} answers where you mention it."[:300],
                "suggested_prompts": prompts,
            },
            "app_home": {
                "home_tab_enabled": False,
                "messages_tab_enabled": True,
                "messages_tab_read_only_enabled": False,
            },
            "bot_user": {"display_name": settings.name[:80], "always_online": True},
            "slash_commands": [slash if socket else {**slash, "url": public_url}],
            "shortcuts": [
                {
                    "name": f"Ask {settings.name} about this"[:24],
                    "type": "message",
                    "callback_id": ASK_ABOUT,
                    "description": "Starts a conversation in the message's thread",
                }
            ],
        },
        "oauth_config": oauth,
        "settings": {
            "event_subscriptions": {**where, "bot_events": list(BOT_EVENTS)},
            "interactivity": {"is_enabled": True, **where},
            "org_deploy_enabled": settings.client_id is not None,
            "socket_mode_enabled": socket,
            "token_rotation_enabled": False,
        },
    }
