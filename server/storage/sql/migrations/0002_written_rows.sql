-- What a batch writes travels as arrays of these, one value a row, instead of one array a column: fewer values to look
-- at on both sides. A statement that needs another shape gets another type, so that nodes of two versions can write side
-- by side during an upgrade.
create type written_event as (
    app_id          uuid,
    user_id         uuid,
    conversation_id uuid,
    seq             bigint,
    usn             bigint,
    kind            text,
    author_type     text,
    author_id       text,
    author_name     text,
    author_avatar   text,
    client_id       uuid,
    digest          bytea,
    body            json,
    at              timestamptz
);

create type written_summary as (
    app_id              uuid,
    user_id             uuid,
    conversation_id     uuid,
    seq                 bigint,
    rev                 bigint,
    status              text,
    headline            text,
    assignee            uuid,
    snoozed_until       timestamptz,
    user_read_seq       bigint,
    agent_read_seq      bigint,
    user_unread         integer,
    agent_unread        integer,
    last_message        json,
    last_message_seq    bigint,
    last_message_author text,
    other_message_seq   bigint,
    updated_at          timestamptz,
    waiting_since       timestamptz,
    last_wait_s         integer,
    answered_at         timestamptz
);

-- `known`: the version of the conversation's row that the asking node has already (`xmin`).
create type wanted_row as (
    app_id          uuid,
    user_id         uuid,
    conversation_id uuid,
    author_type     text,
    author_id       text,
    client_id       uuid,
    known           text
);
