-- What a batch wants to know of a conversation, and the version of the row that the asking node has already.
create type wanted_row as (
    app_id          uuid,
    user_id         uuid,
    conversation_id uuid,
    author_type     text,
    author_id       text,
    client_id       uuid,
    known           text
);
