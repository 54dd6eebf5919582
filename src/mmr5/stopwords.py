"""Stop words by language (ISO 639-1): what carries no meaning in a question or on a page. Languages are told apart by them."""

STOP_WORDS = {
    "en": (
        "a an and are as at be been but by can could did do does for from had has have how i if in into is it its may not of on "
        "or should so such than that the their them then there these they this those to was we were what when where which who "
        "whom whose why will with would you your"
    ),
    "de": (
        "aber alle allem allen aller alles als also am an andere anderen auch auf aus bei beim bin bis bist da damit dann das "
        "dass daß dazu dein dem den denn der des dessen deren die dies diese diesem diesen dieser dieses doch dort du durch ein "
        "eine einem einen einer eines er es etwas euch für gegen gibt habe haben hat hatte ich ihm ihn ihnen ihr ihre ihrem "
        "ihren ihrer im in ist ja jede jedem jeden jeder jedes jetzt kann kein keine können man mein mit muss muß müssen nach "
        "nicht noch nun nur ob oder ohne sehr sein seine seinen seiner sich sie sind so soll sollen sollte über um und uns "
        "unter vom von vor war waren warum was weil welche welchem welchen welcher welches wenn wer werden wieviel wieviele wie "
        "wieder will wir wird wo worden wozu wurde wurden während zu zum zur zwischen"
    ),
    "fr": (
        "a ai ainsi alors au aucun aucune aussi autre autres aux avec avez avoir c car ce ceci cela celle celles celui ces cet "
        "cette ceux chaque ci combien comme comment d dans de depuis des deux doit doivent donc dont du elle elles en encore "
        "entre est et était être eux fait faire faut ils il j je jusqu l la là le les leur leurs lors lorsque lui m ma mais me "
        "même mes moi mon n ne ni nos notre nous on ont ou où par pas peu peut peuvent plus pour pourquoi qu quand que quel "
        "quelle quelles quels qui quoi s sa sans se sera ses si soit son sont sous sur t ta te tes toi ton tous tout toute "
        "toutes très tu un une vos votre vous y à ça été"
    ),
    "es": (
        "a al algo algunas algunos ante antes aquí así aunque cada como con contra cual cuales cualquier cuando cuál cuáles "
        "cuándo cuánto cuánta cuántos cuántas cómo de debe deben del desde donde dónde dos durante e el ella ellas ellos en "
        "entre era es esa esas ese eso esos esta estas este esto estos está están fue fueron ha hace hacer han hasta hay la las "
        "le les lo los más me mi mientras muy nada ni no nos o otra otras otro otros para pero poco por porque pueda puede "
        "pueden que quien quién qué se sea ser si sido sin sobre son su sus sí también tanto te tiene tienen todo todos tu un "
        "una unas uno unos usted y ya yo"
    ),
    "it": (
        "a ad agli ai al alla alle allo anche ancora c che chi ci ciò cioè come con contro cosa cui d da dagli dai dal dalla "
        "dalle dallo dei degli del dell della delle dello deve devono di dopo dove due e ed era essere fra gli ha hanno ho i il "
        "in io l la le lei li lo loro ma mentre mi modo molto ne negli nei nel nell nella nelle nello noi non nostro o ogni "
        "oppure per perché perchè più poi prima può possono qual quale quali quando quanta quante quanti quanto quella quelle "
        "quelli quello questa queste questi questo qui se sé senza si sia sono sua sue sui sul sull sulla sulle sullo suo suoi "
        "tra tu tutte tutti tutto un una uno viene vengono vi voi è"
    ),
    "pt": (
        "a ainda ao aos as até cada com como contra da das de dela dele deles depois desde desta deste deve devem do dos e ela "
        "elas ele eles em entre era essa essas esse esses esta estas este estes está estão eu foi foram há isso isto já lhe "
        "mais mas me mesmo meu minha muito na nas nem no nos nossa nosso num numa não nós o onde os ou para pela pelas pelo "
        "pelos pode podem por porque porquê qual quais quando quanta quantas quanto quantos que quem se seja sem ser será seu "
        "seus sua suas são só também te tem têm ter todas todo todos tu um uma você à às é"
    ),
    "ca": (
        "a al als amb aquest aquesta aquests aquestes aquell això així com cada cap d de del dels des després doncs el els em "
        "en encara ens entre era es està estan ets fa fins ha han hi i jo l la les li més molt ni no nosaltres o on pel pels "
        "per perquè però pot poden què qual quan quant quina quins qui que s sense ser seva seves seu seus si sobre són també "
        "té tot tots un una unes uns vosaltres"
    ),
    "ro": (
        "a acea aceasta această acest aceste acestei acestor acestui ai al ale am ar are așa asupra au ca care că când cât "
        "către ce cea cei cel cele celor chiar ci cine cu cum da dacă dar de deci decât despre din doar după ea ei el ele era "
        "este eu fac face fi fie fiecare fost în între îi îl își la le lor lui mai mult ne nici noi nu o ori pe pentru poate "
        "prea prin sa sau se sunt să și te toate tot tu un una unde unei unele unor unui va vor"
    ),
    "nl": (
        "aan al alle alleen als altijd andere ben bij dan dat de deze die dit doen door dus een en er had hebben heeft het hier "
        "hij hoe hoeveel hun iets ik in is ja je kan kunnen maar meer men met mij mijn moet moeten na naar niet niets nog nu of "
        "om omdat onder ons ook op over reeds te tegen toch toe tot u uit uw van veel voor waar waarom wanneer want was wat we "
        "wel welk welke werd werden wie wij wil worden wordt zal ze zelf zich zij zijn zo zonder zou zullen"
    ),
    "sv": (
        "alla allt att av blev bli blir dem den denna dess dessa det detta dig din du där då efter ej eller en er ett från för "
        "ha hade han har henne hennes hon honom hur här i icke in inte jag kan kommer man med mellan men mig min mot mycket ni "
        "nu när någon något några och om oss på samma sedan sig sin sitt själv ska skulle som så till under upp ut utan vad var "
        "vara varför varje vem vi vid vilka vilken vilket är åt över"
    ),
    "da": (
        "af alle alt anden at blev blive bliver da de dem den denne der deres det dette dig din disse dog du efter eller en end "
        "er et for fra ham han hans har havde hende hun hvad hvem hver hvilke hvilken hvilket hvis hvor hvordan hvorfor hvornår "
        "i ikke ind jeg jer kan kunne man mange med meget men mig min mod mor ned noget nogle nogen nu når og også om op os "
        "over på selv sig sin sit skal skulle som så til ud under var ved vi vil ville være været"
    ),
    "no": (
        "alle at av bare ble bli blir da de deg dem den denne der dere deres det dette du eller en er et etter for fordi fra få "
        "før ha hadde han har hun hva hvem hver hvilke hvilken hvis hvor hvordan hvorfor i ikke ingen inn jeg kan kom kunne man "
        "mange med meg mellom men mot mye må noe noen nå når og også om opp oss over på samme seg selv sin sitt skal skulle "
        "slik som så til ut uten var ved vi vil ville være vært"
    ),
    "fi": (
        "ei eivät että he hän ja jo joka jos joita jossa jotka jotta kaikki kanssa kuin kuinka kun ku kuka me mikä miksi minkä "
        "minä missä mistä mitä mitkä mutta myös nämä ne niin niitä niiden nyt ole olen oli olisi olla on ovat paitsi saa se "
        "sekä sen sillä sitä siitä siellä sinä tai tämä tämän tätä te tulee vai vaikka vain voi voidaan"
    ),
    "hu": (
        "a abban ahol aki ami amely amelyek az azok azt azonban át be benne csak de e egy egyes egyik el ez ezek ezért ezt és "
        "fel ha hanem hogy hogyan hol hány is itt így ki kell le legyen lehet lesz már más meg mely melyik melyek mi mikor "
        "milyen minden mint mit miért még nagyon ne nem nincs olyan ott pedig s sem szerint számára számú több után új vagy "
        "vagyok valamint van vannak volt voltak között közben"
    ),
    "pl": (
        "a aby albo ale ani bardzo bez będzie być by był była było były choć ci co coś czy czyli czym dla dlaczego do dwa gdy "
        "gdyż gdzie go i ich ile im inne inny iż ja jak jakie jaki jaka jako je jeden jednak jego jej jest jeszcze jeśli jeżeli "
        "już każdy kiedy kto który która które których którym którą którego której lub ma mają może można mu musi na nad nas "
        "nawet nie nich niego nim niż o od on ona one oni oraz po pod podczas ponieważ przed przez przy są się sobie swoje ta "
        "tak także tam te tego tej ten też to tu ty tych tylko tym w we wszystkie wszystko więc z za zawsze ze że żeby"
    ),
    "cs": (
        "a aby aj ale ani ano asi až bez bude budou by byl byla byli bylo byly být co což či další do dvě ho i já jak jako jaká "
        "jaké jaký je jeho jejich její jen jenž ještě ji jiné již jsem jsme jsou jste k kam každý kde kdo když ke kolik která "
        "které kterou který kteří ku ma mají má mezi mi mimo mohou může my na nad nám napište náš ne nebo není než nic o od on "
        "ona oni ono pak po pod podle pokud pouze pro proč protože před přes při s se si sice ste svůj svou svých ta tak také "
        "takže tato tedy ten tento této tím to toho tohoto tom tomto tomu tu ty tyto u už v vám váš ve však všech všechny vy z "
        "za zda ze že"
    ),
    "sk": (
        "a aby aj ak ako aký aká aké ale alebo ani áno až bez bol bola boli bolo bude budú by byť čo či ďalší do ho iba ich je "
        "jeho jej k každý kde kedy keď koľko ktorá ktoré ktorý ktorých ku lebo len ma má majú medzi môže možno my na nad nie "
        "nič o od on ona oni pod podľa pokiaľ potom pre prečo pred pri s sa si sme so sú svoj ste ta tak takže táto tento tieto "
        "tiež to toho tomto tu ty tým u už v vo všetky však vy z za zo že"
    ),
    "hr": (
        "a ako ali bez bi bila bili bilo bio biti do ga gdje i ih ili iz ja je jedan jer još kad kada kako kao koja koje koji "
        "kojih kojoj koju kroz li među može mogu mora na nad nakon ne nego nije nisu o od ona oni ono ovaj ova ove ovo po pod "
        "pomoću prema pri sa samo se smo su svi što šta ta tako također te to treba u uz više za zašto"
    ),
    "tr": (
        "acaba ama ancak artık bana bazı belki ben beni benim bir biri birkaç birçok biz bu buna bunda bundan bunlar bunu bunun "
        "çok çünkü da daha de değil diye dolayı en gibi göre hangi hem hep her hiç için ile ise kadar kaç kendi ki kim kimi mı "
        "mi mu mü nasıl ne neden nedir nerede nereye niye olan olarak olduğu oldu olur onlar onu onun sadece sen siz şey şu "
        "tarafından tüm ve veya ya yani zaman üzere var yok"
    ),
    "id": (
        "ada adalah agar akan aku anda antara apa apabila atau bagaimana bagi bahwa beberapa belum berapa bila bisa bukan dalam "
        "dan dapat dari daripada dengan di dia harus hingga ia ini itu jika juga kami kapan karena ke kepada kita lain maka "
        "mana masih mengapa mereka merupakan namun oleh pada para saat saja sampai sangat saya sebagai sebuah secara sedang "
        "seperti serta setelah setiap sudah suatu telah tentang tersebut tetapi tidak untuk yaitu yang"
    ),
    "vi": (
        "bị bởi các cái cần cho chỉ có của cũng cùng được đã đang đến để đó đều gì giữa hay hoặc khi không là lại làm mà mỗi "
        "một nào này nên nếu ngày người như nhưng những nhiều ở phải qua ra rất sao sau sẽ tại theo thì thế trên trong trước từ "
        "và vào vẫn về vì với"
    ),
    "et": (
        "aga ainult ei ega ehk et ette ja ka kas kes kui kuid kuidas kuna kus kõik lisaks ma me mille millal millest mis miks "
        "mitte mul mõni nad need nende nii ning neid olema oli olid on pole sa saab see seda selle selles sest siis ta tema "
        "teie tuleb või vastu välja üks üle"
    ),
    "lt": (
        "apie ar arba bei bet buvo būti dar dėl galima gali iki ir iš į jei jeigu jis ji jie jos jų kad kai kaip kas keli kiek "
        "kiekvienas kodėl ko kur kuri kurie kuris kurios kurių labai nei ne nes nėra nors nuo o pagal po prie prieš savo su šis "
        "ši šios šie šiuo ta tačiau tai taip tas to turi už visi yra"
    ),
    "ru": (
        "а без более больше бы был была были было быть в вам вас весь во вот все всего всех вы где да даже для до другой его ее "
        "её если есть еще ещё же за и из или им их к каждый как какая какие каким какой каких какую когда которая которого "
        "которой которое которые который которых кто куда ли либо между меня мне может можно мы на над надо нас не него нее нет "
        "ни них но ну о об однако он она они оно от очень по под после потом потому почему при про раз с сам свой свою себя "
        "сколько со так также такой там те тем то тогда того тоже только том тот у уже хотя чего чем через что чтобы чтоб эта "
        "эти этим этих это этого этой этом этот эту я"
    ),
    "uk": (
        "а або але б без більш би був була були було бути в вам вас весь вже від він вона вони все всі втім г де деякі для до "
        "дуже є за з зі із й його її їх і коли котра кожен кожний крім куди лише має мають між може можна ми на над навіть не "
        "нам нас нею ні ним них про під після по при саме свої себе скільки та так також такий там те тих то тобто того тоді "
        "той тому тут у це ці цей цього цієї чи чим чому ще що щоб як яка яке якщо які який яких якого якої"
    ),
    "bg": (
        "а ако ала бе без беше би бил била били било бъде в вас ви вие все всеки всички всичко във г да дали до докато докъде "
        "за защо защото и из или им има как какво какъв каква кога което която който които кой колко към ли между може ми много "
        "му на над най не него ни ние но о обаче около от отново още по под пък с са само се си след със също тази така такава "
        "там те тези ти то това тогава този той трябва тя у че чрез ще я"
    ),
    "sr": (
        "а али без би био била били било бити да до га где и из или их ја је један јер још када како као која које који којих "
        "којој кроз ли између може мора на над након не него није нису о од она они оно овај ова ове ово по под помоћу према "
        "при са само се смо су сви што шта та тако такође те то треба у уз више за зашто"
    ),
    "el": (
        "αλλά αν αντί από αρ ας αυτά αυτές αυτή αυτό αυτοί αυτός αυτού για γιατί δε δεν δύο εάν εδώ εκεί είναι είτε εμείς εν "
        "ένα ένας έναν επί επίσης εσύ έτσι έχει έχουν η ή ήταν θα ίδιο και καθώς κάθε κάποιο κατά κι λοιπόν με μέσα μετά μεταξύ "
        "μέχρι μη μην μια μία μόνο μου μπορεί να ο οι όλα όμως όπως όπου όσο όταν ότι ούτε παρά περί πιο ποια ποιες ποιο ποιοι "
        "ποιος πολύ πόσα πόσες πόσο πόσοι πότε που πού πρέπει πριν προς πως πώς σας σε σου στα στη στην στις στο στον στους τα "
        "τη την της τι τις το τον τόσο του τους των ως ώστε"
    ),
    "ar": (
        "أ أم أما أن أنا أنت أنها أنه أو أي أيضا أين إذا إلا إلى إن إنه التي الذي الذين بعد بعض بل بها به بين تكون تلك ثم حتى "
        "حيث خلال دون ذلك ذات سوف على عليه عليها عن عند غير فإن في فيه فيها قبل قد كان كانت كل كم كما كيف لا لأن لقد لكن لم "
        "لماذا لن له لها ليس ما ماذا متى مثل مع من منذ منها منه نحن نحو هذا هذه هل هم هنا هناك هو هي و وقد وهو وهي يكون يمكن"
    ),
    "fa": (
        "آن آنها آیا از اگر اما این اینکه با باید بر برای بسیار به بود بودند بی پس پیش تا تر تو چرا چگونه چند چه چیست حتی خود "
        "خواهد دارد دارند در دیگر را روی زیر سپس شد شده شود شما شوند طور فقط کجا کدام کرد کردن کرده کند کنند که کی گفت ما مانند "
        "مثل من می میان نمی نه نیز نیست ها های هر هم همه همین هیچ و وی ولی یا یک یکی است اند او"
    ),
    "ur": (
        "آپ آیا اب اس اسی اگر ان اور ایک بھی بہت پر پھر تا تک تو تھا تھی تھے جب جس جو جیسے خود سب سے صرف طرح کا کب کچھ کر کرنے "
        "کس کسی کم کو کون کونسا کہ کہاں کی کیا کیسے کیوں کے گا گی گیا لئے لیے لیکن میں نہ نہیں نے والا والے وہ ہر ہم ہو ہوا "
        "ہوتا ہوتی ہوتے ہوں ہے ہیں یا یہ"
    ),
    "he": (
        "אבל או אותה אותו אותם אז אחר אחרי אחת אין איך איפה איזה איזו אלא אלה אלו אם אנו אנחנו אני אף אפשר את אתה אתם באיזה בין "
        "גם דרך האם הוא היא היה היו הם הן הנה זאת זה זו יש כאן כאשר כדי כי כך כל כלל כמה כמו כן לא לאחר לאן לה להם להן לו לכל "
        "למה לנו לפי לפני מה מהו מהי מדוע מי מן מתי נגד על עד עוד עם עבור פי רק של שלא שלה שלהם שלו שם תוך תחת"
    ),
    "hi": (
        "अगर अपना अपनी अपने अब आदि आप इन इस इसका इसकी इसके इसमें इसे उन उनका उनकी उनके उस उसका उसकी उसके उसे एक एवं और कई कब "
        "कभी कर करता करते करना करने कहा कहाँ कहां का कि कितना कितनी कितने किया किस किसी की कुछ के को कोई कौन कौनसा क्या क्यों "
        "गई गए गया जब जहाँ जा जाता जाती जाते जिस जैसे जो तक तब तरह तो था थी थे दिया दो द्वारा न नहीं ने पर फिर बहुत बाद भी मगर "
        "में मैं यदि यह यहाँ या ये रहा रही रहे लिए लेकिन व वह वहाँ वाला वाली वाले वे सकता सकते सब से हम ही हुआ हुई हुए है हैं "
        "हो होता होती होते होने"
    ),
    "mr": (
        "आणि आहे आहेत एक कसे का काय किंवा किती की कुठे केला केली केले कोण कोणता कोणती कोणते च जर जे जेव्हा जो झाला झाली झाले तर "
        "तसेच ते तो ती त्या त्याचा त्यांच्या त्याने नाही पण परंतु म्हणून मध्ये मी या येथे वर व होता होती होते हा ही हे हो"
    ),
    "ne": (
        "अनि अब अरू आफ्नो उनी एक एउटा कति कसरी कसले कहाँ कि किन के को गरे गरेको गर्न गर्ने छ छन् छैन जस्तो जो तथा तर ती थियो "
        "थिए न नै पछि पनि भएको भने भन्ने मा यस यसको यी यो र रहेको लाई ले वा सँग सबै हुन हुने हुन्छ हो"
    ),
}

SIGNS = {
    "en": (
        "about after all also any because before between both each first he her his just many me more most much must my new no "
        "one only other our out over same she some through too two under up us use used using very"
    ),
}
"""Words by which a language is told as well, and which may carry a question."""
