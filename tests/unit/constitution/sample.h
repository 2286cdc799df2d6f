/* sample.h: a small constitution that the room's tests share. */
#ifndef TEST_CONSTITUTION_SAMPLE_H
#define TEST_CONSTITUTION_SAMPLE_H

static const char sample[] =
    "# a comment\n"
    "constitution: 1\n"
    "name: house-rules\n"
    "license: CC0-1.0\n"
    "sampling: {revisions: 2}\n"
    "principles:\n"
    "  - id: no-lies\n"
    "    title: Do not lie\n"
    "    weight: 0.5\n"
    "    critique: Say where the reply is untrue.\n"
    "    revision: Make it true.\n"
    "    choice: |\n"
    "      Which reply is more honest?\n"
    "    source: {name: us, votes: 3}\n"
    "    tags: [honesty, trust]\n"
    "  - id: no-harm\n"
    "    critique: \"Say where the reply helps with harm.\"\n"
    "    revision: Remove the harm.\n"
    "critique_examples:\n"
    "  - turns:\n"
    "      - user: Is two and two five?\n"
    "      - assistant: Yes.\n"
    "    critique_request: Say where the reply is untrue.\n"
    "    critique: Two and two are four.\n"
    "    revision_request: Make it true.\n"
    "    revision: No, it is four.\n"
    "  - turns: [{user: Hello}, {assistant: Hello!}]\n"
    "    critique_request: Is it rude?\n"
    "    critique: \"No flaw: it is a greeting.\"\n"
    "    no_flaw: yes\n"
    "choice_examples:\n"
    "  - turns: [{user: Is ice warm?}]\n"
    "    choice: Which is true?\n"
    "    a: It is {b} warm.\n"
    "    b: It is cold.\n"
    "    answer: B\n";

#endif
