#!/usr/bin/env escript
%% SPDX-License-Identifier: Apache-2.0
%%! -noinput +S 1:1
%% Runs sequences of operations on ETS for a test. Requests and answers are terms in the external format, each with its
%% length in four bytes before it, on standard input and output:
%%
%%   versions                        -> {OtpRelease, [{Function, Arity} of module ets]}
%%   {Type, KeyPos, [Operation]}     -> [Answer], one per operation, on a new table called 'table'
%%
%% An operation is {call, Function, Args}, Args without the table; {counted, Function, Args}: how many rows it made fewer;
%% {walk, First, Next}: all keys; {chunks, Function, Args, Operations}: a limited match or select and its continuations,
%% the operations run after the first chunk. An answer is {ok, Value} or {badarg, Cause}, the cause being ETS's own.
-mode(compile).

main(_) ->
    Port = open_port({fd, 0, 1}, [binary, {packet, 4}, eof]),
    serve(Port).

serve(Port) ->
    receive
        {Port, {data, Request}} ->
            true = port_command(Port, term_to_binary(answer(binary_to_term(Request)))),
            serve(Port);
        {Port, eof} ->
            halt(0)
    end.

answer(versions) ->
    {list_to_integer(erlang:system_info(otp_release)), ets:module_info(exports)};
answer({Type, KeyPos, Operations}) ->
    taken = ets:new(taken, [named_table]),
    put(table, ets:new(table, [Type, public, named_table, {keypos, KeyPos}])),
    Answers = [answer_one(Operation) || Operation <- Operations],
    true = ets:delete(get(table)),
    true = ets:delete(taken),
    Answers.

answer_one(Operation) ->
    try
        {ok, perform(Operation)}
    catch
        error:badarg:Trace -> {badarg, cause(Trace)}
    end.

perform({call, rename, Args}) ->
    put(table, apply(ets, rename, [get(table) | Args]));
perform({call, Function, Args}) ->
    apply(ets, Function, [get(table) | Args]);
perform({counted, Function, Args}) ->
    Before = ets:info(get(table), size),
    apply(ets, Function, [get(table) | Args]),
    Before - ets:info(get(table), size);
perform({walk, First, Next}) ->
    walk(ets:First(get(table)), Next);
perform({chunks, Function, Args, Between}) ->
    First = apply(ets, Function, [get(table) | Args]),
    [answer_one(Operation) || Operation <- Between],
    chunks(Function, First).

chunks(_, '$end_of_table') -> [];
chunks(Function, {Chunk, Continuation}) -> [Chunk | chunks(Function, ets:Function(Continuation))].

walk('$end_of_table', _) -> [];
walk(Key, Next) -> [Key | walk(ets:Next(get(table), Key), Next)].

cause([{ets, _, _, Info} | _]) ->
    maps:get(cause, proplists:get_value(error_info, Info, #{}), none);
cause(_) ->
    none.
