"""Mappings for payloads that many people have, so that a source needs one line: `map = {use = "github"}`."""

from collections.abc import Mapping

from adapters.webhook.mapping import MapSettings, RuleSettings

_NUMBER = "to_string(body.issue.number || body.pull_request.number)"
_GITHUB = {
    "conversation": f"join('#', [body.repository.full_name, {_NUMBER}])",
    "title": "{{ body.issue.title || body.pull_request.title }}",
    "user": {"id": "body.sender.login", "name": "body.sender.login"},
    "metadata": {
        "event": 'headers."x-github-event"',
        "repository": "body.repository.full_name",
        "number": "body.issue.number || body.pull_request.number",
        "url": "body.comment.html_url || body.review.html_url || body.issue.html_url || body.pull_request.html_url",
    },
}


def _github(event: str, text: str) -> RuleSettings:
    return RuleSettings.model_validate({**_GITHUB, "when": f"headers.\"x-github-event\" == '{event}'", "text": text})


_ALERTS = RuleSettings(
    text=(
        "{{ body.status }}: {{ body.commonLabels.alertname || body.title || body.groupKey }}\n\n"
        "{{ body.commonAnnotations.summary }}\n\n"
        "{{ body.alerts[].{status: status, labels: labels, annotations: annotations, since: startsAt} }}"
    ),
    title="{{ body.commonLabels.alertname || body.title }}",
    conversation="body.groupKey",
    metadata={"group": "body.groupKey", "status": "body.status", "url": "body.externalURL"},
)

READY_MADE: Mapping[str, MapSettings] = {
    "github": MapSettings(
        # Bots are left alone: two of them would talk each other to death.
        filter=(
            "body.sender.type != 'Bot' && contains(['opened', 'reopened', 'created', 'submitted'], body.action) && "
            "contains(['issues', 'issue_comment', 'pull_request', 'pull_request_review',"
            " 'pull_request_review_comment'], headers.\"x-github-event\")"
        ),
        rules=(
            _github(
                "issues",
                "{{ body.sender.login }} {{ body.action }} issue #{{ body.issue.number }} in "
                "{{ body.repository.full_name }}: {{ body.issue.title }}\n\n{{ body.issue.body }}",
            ),
            _github(
                "issue_comment",
                "{{ body.sender.login }} commented on #{{ body.issue.number }} in "
                "{{ body.repository.full_name }}: {{ body.issue.title }}\n\n{{ body.comment.body }}",
            ),
            _github(
                "pull_request",
                "{{ body.sender.login }} {{ body.action }} pull request #{{ body.pull_request.number }} in "
                "{{ body.repository.full_name }}: {{ body.pull_request.title }}\n\n{{ body.pull_request.body }}",
            ),
            _github(
                "pull_request_review",
                "{{ body.sender.login }} reviewed pull request #{{ body.pull_request.number }} in "
                "{{ body.repository.full_name }} ({{ body.review.state }}): {{ body.pull_request.title }}"
                "\n\n{{ body.review.body }}",
            ),
            _github(
                "pull_request_review_comment",
                "{{ body.sender.login }} commented on {{ body.comment.path }} of pull request "
                "#{{ body.pull_request.number }} in {{ body.repository.full_name }}\n\n{{ body.comment.body }}",
            ),
        ),
    ),
    "stripe": MapSettings(
        rules=(
            RuleSettings(
                text="Stripe sent {{ body.type }}:\n\n{{ body.data.object }}",
                title="{{ body.type }}",
                conversation="body.data.object.id",
                message="body.id",
                metadata={"event": "body.id", "type": "body.type", "object": "body.data.object.id"},
            ),
        )
    ),
    "alertmanager": MapSettings(rules=(_ALERTS,)),
    "grafana": MapSettings(rules=(_ALERTS,)),
}
