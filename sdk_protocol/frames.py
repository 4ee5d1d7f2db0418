"""Every frame of the protocol under one roof, and which of them travel in which direction.

Defined by sender: `user_frames.py`, `desk_frames.py`, `server_frames.py`; what is inside: `records.py`, `bodies.py`.
"""

from sdk_protocol.bodies import (
    AgentBody,
    Attachment,
    Button,
    Card,
    Choices,
    Coupon,
    NoteBody,
    Option,
    Text,
    TransactionBody,
    UserBody,
)
from sdk_protocol.desk_frames import (
    Assign,
    DeskHello,
    DeskRead,
    DeskSend,
    DeskTyping,
    Note,
    SetPresence,
    SetStatus,
    Unwatch,
    Watch,
    WatchInbox,
)
from sdk_protocol.records import (
    AgentInfo,
    Amount,
    AppInfo,
    Author,
    ContextSnapshot,
    Device,
    InboxFilter,
    LastMessage,
    Limits,
    OpeningMessage,
    PushKeys,
    Summary,
    Transaction,
    UserInfo,
    WebPushSubscription,
)
from sdk_protocol.server_frames import (
    DeskWelcome,
    Drain,
    Error,
    Event,
    Inbox,
    Ok,
    Page,
    Pong,
    Signal,
    Snapshot,
    Synced,
    Welcome,
)
from sdk_protocol.user_frames import (
    Ack,
    Foreground,
    Frame,
    Hello,
    History,
    Logout,
    Open,
    Ping,
    Press,
    PushToken,
    Rate,
    Read,
    Refresh,
    Send,
    Typing,
)

UserFrame = (
    Hello
    | Open
    | Send
    | Ack
    | Read
    | Typing
    | Foreground
    | History
    | Rate
    | Press
    | PushToken
    | Refresh
    | Logout
    | Ping
)
DeskFrame = (
    DeskHello
    | Watch
    | Unwatch
    | WatchInbox
    | DeskSend
    | Note
    | DeskTyping
    | DeskRead
    | SetStatus
    | Assign
    | SetPresence
    | Ping
)
UserServerFrame = Welcome | Snapshot | Event | Synced | Ok | Error | Page | Signal | Drain | Pong
DeskServerFrame = DeskWelcome | Inbox | Event | Ok | Error | Signal | Drain | Pong

__all__ = [
    "Ack",
    "AgentBody",
    "AgentInfo",
    "Amount",
    "AppInfo",
    "Assign",
    "Attachment",
    "Author",
    "Button",
    "Card",
    "Choices",
    "ContextSnapshot",
    "Coupon",
    "DeskFrame",
    "DeskHello",
    "DeskRead",
    "DeskSend",
    "DeskServerFrame",
    "DeskTyping",
    "DeskWelcome",
    "Device",
    "Drain",
    "Error",
    "Event",
    "Foreground",
    "Frame",
    "Hello",
    "History",
    "Inbox",
    "InboxFilter",
    "LastMessage",
    "Limits",
    "Logout",
    "Note",
    "NoteBody",
    "Ok",
    "Open",
    "OpeningMessage",
    "Option",
    "Page",
    "Ping",
    "Pong",
    "Press",
    "PushKeys",
    "PushToken",
    "Rate",
    "Read",
    "Refresh",
    "Send",
    "SetPresence",
    "SetStatus",
    "Signal",
    "Snapshot",
    "Summary",
    "Synced",
    "Text",
    "Transaction",
    "TransactionBody",
    "Typing",
    "Unwatch",
    "UserBody",
    "UserFrame",
    "UserInfo",
    "UserServerFrame",
    "Watch",
    "WatchInbox",
    "WebPushSubscription",
    "Welcome",
]
