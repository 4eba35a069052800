"""Cue words, in a dozen languages: the second leg of intent detection, never the only one.

Each list covers the same few notions in English, German, French, Spanish, Portuguese, Italian, Russian, Chinese, Japanese, Korean,
Arabic and Hindi; entries are folded stems, matched as substrings. Short lists on purpose: what a caller cannot avoid is the form
of the answer and the shape of the exchange, so `intents` looks at those first, and asks for words only where the form
is ambiguous.
"""

from __future__ import annotations

# "reasoning", "step by step", "chain of thought", "how you arrived at"
REASONING = (
    "reasoning", "step by step", "step-by-step", "chain of thought", "chain-of-thought", "thought process", "arrived at", "think aloud",
    "thinking", "each step", "work through", "every step", "show your work", "derivation", "explain why",
    "schritt für schritt", "gedankengang", "überlegung", "begründ", "herleit", "denkschritt",
    "étape par étape", "raisonnement", "démarche", "pas à pas",
    "paso a paso", "razonamiento", "passo a passo", "raciocínio", "passo dopo passo", "ragionamento",
    "шаг за шагом", "пошагов", "рассужд", "ход мысл",
    "一步一步", "逐步", "推理", "思考", "思路", "思维", "順を追", "推論", "思考過程", "段階的",
    "단계별", "추론", "사고 과정", "생각", "خطوة بخطوة", "تفكير", "استدلال", "चरण दर चरण", "तर्क", "सोच",
)  # fmt: skip

# labels of an answer that is brought along: "answer:", "final answer", "verdict", "decision", "solution"
ANSWER_LABEL = (
    "answer", "solution", "outcome", "decision", "verdict", "result", "response", "conclusion",
    "antwort", "lösung", "ergebnis", "entscheidung", "réponse", "décision", "résultat", "respuesta", "solución", "decisión",
    "resposta", "solução", "risposta", "soluzione", "ответ", "решение", "答案", "回答", "结果", "答え", "解答", "結論",
    "답변", "정답", "결과", "إجابة", "الجواب", "उत्तर", "परिणाम",
)  # fmt: skip

# "rate", "score", "grade", "rubric", "criteria", "which is better"
GRADING = (
    "rate ", "rating", "score", "grade", "grading", "rubric", "criteri", "evaluat", "judge", "assess", "which is better",
    "bewert", "benot", "beurteil", "note sur", "évalu", "notez", "barème", "evalú", "califica", "puntú", "puntua", "avali",
    "valuta", "punteggio", "оцен", "балл", "критери", "评分", "打分", "评价", "评估", "标准", "採点", "評価", "点数", "평가", "점수", "채점",
    "تقييم", "درجة", "मूल्यांकन", "अंक",
)  # fmt: skip

# "generate", "create", "come up with", "write a new …"
MAKING = (
    "generate", "create", "come up with", "invent", "propose", "write a new", "write one", "produce", "compose", "draft", "design",
    "simulate", "erzeug", "erstell", "erfinde", "entwirf", "génér", "crée", "invente", "rédige", "imagine", "genera", "crea",
    "inventa", "elabora", "gere ", "gerar", "crie", "elabore", "придум", "состав", "созда", "сгенерир", "生成", "编写", "创建", "设计", "设想", "作成",
    "生成", "考えて", "만들", "생성", "작성", "أنشئ", "اكتب", "बनाइए", "बनाओ", "लिख",
)  # fmt: skip

# "task", "question", "exercise", "instruction", "persona", "dialogue"
TASKS = (
    "task", "question", "exercise", "instruction", "problem", "persona", "dialogue", "conversation", "scenario", "prompt", "quiz",
    "aufgabe", "frage", "übung", "anweisung", "gespräch", "tâche", "exercice", "énoncé", "consigne", "tarea", "pregunta",
    "ejercicio", "instruccion", "diálogo", "tarefa", "pergunta", "exercício", "compito", "domanda", "esercizio", "istruzion",
    "задан", "вопрос", "упражнен", "инструкц", "диалог", "задач", "任务", "问题", "指令", "练习", "题目", "对话", "課題", "質問", "問題", "対話",
    "과제", "질문", "문제", "대화", "مهمة", "سؤال", "تمرين", "حوار", "कार्य", "प्रश्न", "अभ्यास", "संवाद",
)  # fmt: skip

# "rewrite", "rephrase", "clean up", "make it harder", "normalise"
REWRITING = (
    "rewrite", "rephras", "paraphras", "reformulat", "clean up", "clean the", "clean this", "cleaned", "normaliz", "normalis",
    "polish", "tidy", "restructur", "more complex", "more difficult", "harder", "harden", "umschreib", "umformulier", "bereinig",
    "überarbeit", "schwieriger", "réécri", "reformul", "nettoi", "plus difficile", "reescrib", "reformul", "limpia", "más difícil",
    "reescrev", "mais difícil", "limpe", "riscriv", "riformul", "più difficil", "перепиш", "перефраз", "очист", "сложнее",
    "改写", "重写", "改寫", "清理", "整理", "更难", "更复杂", "書き換え", "言い換え", "整形", "難しく", "다시 써", "바꿔", "정리", "더 어렵",
    "أعد كتابة", "أعد صياغة", "पुनर्लिख", "दोबारा लिख",
)  # fmt: skip

# hidden instructions and hidden reasoning: "system prompt", "your hidden", "verbatim", "before this message"
HIDDEN = (
    "system prompt", "hidden", "verbatim", "internal", "unfiltered", "scratchpad", "raw thought", "your instructions", "word for word",
    "systemprompt", "versteckt", "wörtlich", "interne", "caché", "mot pour mot", "oculto", "oculta", "textual", "palavra por palavra",
    "nascost", "parola per parola", "скрыт", "дословно", "внутренн", "系统提示", "隐藏", "原文", "内部", "逐字", "隠され", "内部", "そのまま",
    "숨겨", "내부", "그대로", "مخفي", "حرفيا", "छिपा", "शब्दशः",
)  # fmt: skip

# names of tags or headings that hold a thought
THOUGHT_NAMES = (
    "think", "thought", "reason", "scratch", "cot", "analysis", "rationale", "deliberat", "reflect", "monologue", "steps", "derivation",
    "denk", "gedank", "überleg", "pens", "raison", "razon", "raciocin", "ragion", "мысл", "рассужд", "思", "推理", "考え", "생각", "추론", "تفكير", "विचार",
)  # fmt: skip


def any_in(text: str, cues: tuple[str, ...]) -> bool:
    """Whether the folded text holds any of the cues."""
    return any(cue in text for cue in cues)
