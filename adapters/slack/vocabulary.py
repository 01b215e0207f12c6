"""Slack's words that mean something to us, and those that do not, each with the reason."""

from bridge.model import Act

IGNORED_SUBTYPES = {
    "channel_join": "nothing was said",
    "channel_leave": "nothing was said",
    "channel_topic": "nothing was said",
    "channel_purpose": "nothing was said",
    "channel_name": "nothing was said",
    "channel_archive": "nothing was said",
    "channel_unarchive": "nothing was said",
    "channel_convert_to_private": "nothing was said",
    "group_join": "nothing was said",
    "group_leave": "nothing was said",
    "pinned_item": "nothing was said",
    "reminder_add": "nothing was said",
    "ekm_access_denied": "the text is hidden from apps",
    "assistant_app_thread": "the root of a thread in the retired assistant view",
    "message_replied": "a counter changed",
    "file_comment": "no longer sent for new files",
}
SPOKEN_SUBTYPES = frozenset({None, "file_share", "thread_broadcast", "me_message", "bot_message"})

IGNORED_EVENTS = {
    "app_home_opened": "the manifest's suggested prompts are shown by Slack itself",
    "app_context_changed": "what someone looks at comes with the message, too",
    "agent_session_title_changed": "titles are Slack's and the person's",
    "assistant_thread_started": "the retired assistant view",
    "assistant_thread_context_changed": "the retired assistant view",
    "reaction_removed": "feedback is what was given last",
    "member_joined_channel": "nobody asked anything",
    "file_shared": "the message with subtype file_share has the text, too",
}

COMMANDS = {
    "stop": Act.STOP,
    "mute": Act.MUTE,
    "unmute": Act.UNMUTE,
    "reset": Act.RESET,
    "new conversation": Act.RESET,
}
"""What does something when it is all a message to the bot says."""

VERDICTS = {"+1": "1", "thumbsup": "1", "-1": "-1", "thumbsdown": "-1"}
