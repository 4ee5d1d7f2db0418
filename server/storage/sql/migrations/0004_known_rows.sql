-- What is written of a conversation whose head is known (storage/known.py): an event, and with the last event of a
-- conversation its summary; `rev` is null for the others. `n`: which one of the batch's users.
create type known_row as (
    n                   integer,
    conversation_id     uuid,
    seq                 bigint,
    usn                 bigint,
    kind                text,
    author_type         text,
    author_id           text,
    author_name         text,
    author_avatar       text,
    client_id           uuid,
    digest              bytea,
    body                json,
    rev                 bigint,
    status              text,
    user_read_seq       bigint,
    agent_read_seq      bigint,
    user_unread         integer,
    agent_unread        integer,
    last_message        json,
    last_message_seq    bigint,
    last_message_author text,
    other_message_seq   bigint,
    waiting_since       timestamptz,
    last_wait_s         integer,
    answered_at         timestamptz
);
